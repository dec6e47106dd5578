//! The results as JUnit XML, which build servers read.

use std::io::Write;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::report::{Report, Row, Suite};
use crate::domain::text;

/// Writes the results: a suite for the contract's cases and one for the author's.
///
/// # Errors
/// If `out` does not take it.
pub(super) fn write(report: &Report, out: impl Write) -> anyhow::Result<()> {
    let title = report.title();
    let mut junit = quick_junit::Report::new(title.as_str());
    junit.set_time(report.took);
    for suite in [Suite::Conformance, Suite::Cases] {
        let mut junit_suite = TestSuite::new(suite.name());
        let rows = report.rows.iter().filter(|row| row.suite == suite);
        junit_suite.add_test_cases(rows.map(|row| case(row, &title)));
        if junit_suite.tests > 0 {
            junit.add_test_suite(junit_suite);
        }
    }
    junit.serialize(out)?;
    Ok(())
}

fn case(row: &Row, title: &str) -> TestCase {
    let status = match &row.problem {
        None => TestCaseStatus::success(),
        Some(problem) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(text::line(problem.lines().next().unwrap_or_default()));
            status.set_description(row.details().join("\n"));
            status
        }
    };
    let mut case = TestCase::new(text::line(&row.name), status);
    case.set_classname(format!("{title}.{}", row.suite.name()));
    if let Some(usage) = &row.usage {
        case.set_time(usage.wall);
    }
    if row.problem.is_some() {
        let log = row.log();
        if !log.is_empty() {
            case.set_system_out(log.join("\n"));
        }
    }
    case
}
