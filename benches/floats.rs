//! What it costs that NaNs are canonical: one loop of floating point, fuel on, compiled with and without.

// A benchmark that cannot be set up has nothing to measure: it may say so and stop.
#![allow(clippy::expect_used)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wasmtime::{Config, Engine, Instance, Module, Store, TypedFunc};

/// The steps of a loop: one number at a time, and four at once.
const SCALAR: &str = "(local.set $x (f64.add (f64.mul (local.get $x) (f64.const 0.999)) (local.get $y)))
    (local.set $y (f64.sub (f64.mul (local.get $y) (f64.const 0.5)) (f64.div (local.get $x) (f64.const 1e9))))
    (local.set $x (f64.sqrt (f64.add (f64.mul (local.get $x) (local.get $x)) (f64.const 1e-9))))";
const LANES: &str = "(local.set $v (f32x4.add (f32x4.mul (local.get $v) (local.get $w)) (local.get $w)))
    (local.set $w (f32x4.sub (f32x4.mul (local.get $w) (local.get $w)) (local.get $v)))
    (local.set $v (f32x4.sqrt (f32x4.mul (local.get $v) (local.get $v))))";
const ROUNDS: i32 = 100_000;

fn looped(canonical: bool, step: &str) -> (Store<()>, TypedFunc<i32, ()>) {
    let mut config = Config::new();
    config.consume_fuel(true).cranelift_nan_canonicalization(canonical).relaxed_simd_deterministic(canonical);
    let engine = Engine::new(&config).expect("an engine");
    let text = format!(
        "(module (func (export \"run\") (param $n i32) (local $x f64) (local $y f64) (local $v v128) (local $w v128)
            (loop {step} (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"
    );
    let module = Module::new(&engine, wat::parse_str(text).expect("a text")).expect("a module");
    let mut store = Store::new(&engine, ());
    store.set_fuel(u64::MAX).expect("fuel");
    let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
    let run = instance.get_typed_func(&mut store, "run").expect("a function");
    (store, run)
}

fn floats(criterion: &mut Criterion) {
    for (name, step) in [("one at a time", SCALAR), ("four at once", LANES)] {
        let mut group = criterion.benchmark_group(name);
        for canonical in [false, true] {
            let (mut store, run) = looped(canonical, step);
            let id = BenchmarkId::from_parameter(if canonical { "canonical" } else { "as it comes" });
            group.bench_function(id, |bencher| {
                bencher.iter(|| run.call(&mut store, ROUNDS).expect("it ends"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, floats);
criterion_main!(benches);
