//! TEMPORARY: parameters from the environment while they are tuned.
use std::sync::LazyLock;
static T: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let mut v: Vec<f32> = vec![
        0.4, 1.5, 1.0, 0.3, 0.5, 0.3, 3.0, // 0..6: b, name, desc, cat, trigger, trigger b, k1
        0.01, 200.0, // 7,8 bayes prior, mass
        0.15, 0.3, 0.5, // 9 prefix4, 10 prefix5 , 11 phrase lexical kind weights
        0.08, // 12 nb weight
        1.0, // 13 lex weight
        2.0, // 14 svm weight (when model)
        1.0, 8000.0, 8.0, // 15 C, 16 cap, 17 epochs
        0.5, // 18 related weight
        10.0, // 19 rerank M
        0.25, // 20 C factor of non examples
        3.0, // 21 normalisation floor
        -0.6, 0.9, 0.1, 0.3, //22.. substitute margin
    ];
    if let Ok(s) = std::env::var("T") {
        for p in s.split(',') {
            if let Some((i, x)) = p.split_once('=') {
                v[i.parse::<usize>().unwrap()] = x.parse().unwrap();
            }
        }
    }
    v
});
pub(crate) fn t(i: usize) -> f32 {
    T[i]
}
