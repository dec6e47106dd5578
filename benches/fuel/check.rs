//! Every import of every interface that the host decided about has its case in the table of fuel.

#![allow(clippy::expect_used, clippy::panic)]
// Only the measurement reads all of a case.
#![allow(dead_code)]

mod cases;
mod contracts;
mod probe;

use contracts::Contracts;

#[test]
fn every_import_has_a_case_that_is_a_component() {
    let contracts = Contracts::read();
    let (cases, wrong) = cases::all(&contracts);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let imports = contracts.imports();
    for case in &cases {
        let text = probe::module(&contracts, &imports, case);
        if let Err(error) = contracts.component(&text) {
            panic!("{}: {error}\n{text}", case.name);
        }
    }
}
