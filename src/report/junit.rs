//! `junit.xml`: each check, expectation and step as a test case, for CI servers.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Error;
use super::checklist::measured;
use super::document::Document;

pub fn junit(document: &Document) -> Result<String, Error> {
    let mut suite = TestSuite::new(document.drill.clone());
    suite.set_time(seconds(document.seconds));
    for step in &document.steps {
        let status = match &step.error {
            None if step.ok => TestCaseStatus::success(),
            message => failed(
                NonSuccessKind::Error,
                message.as_deref().unwrap_or("did not end"),
            ),
        };
        let mut case = TestCase::new(format!("step: {}", step.name), status);
        case.set_time(seconds(step.seconds));
        suite.add_test_case(case);
    }
    for check in &document.checks {
        let message = check.detail.as_deref().unwrap_or("does not hold");
        suite.add_test_case(judged("check", &check.name, check.ok, message));
    }
    for expected in &document.expectations {
        let measured = match &expected.value {
            Some(value) => format!("measured {}", measured(value)),
            None => "not measured".to_string(),
        };
        suite.add_test_case(judged("expect", &expected.text, expected.ok, &measured));
    }
    suite.add_test_case(verdict(document));
    let mut report = Report::new("rpitr");
    report.set_time(seconds(document.seconds));
    report.add_test_suite(suite);
    report
        .to_string()
        .map_err(|error| Error::Render(error.to_string()))
}

/// The run as a whole: what went wrong may belong to no step.
fn verdict(document: &Document) -> TestCase {
    let status = match (&document.error, document.passed()) {
        (None, true) => TestCaseStatus::success(),
        (Some(error), _) => failed(NonSuccessKind::Error, &error.message),
        (None, false) => failed(NonSuccessKind::Failure, &document.verdict),
    };
    TestCase::new("verdict", status)
}

fn judged(what: &str, name: &str, ok: bool, message: &str) -> TestCase {
    let status = if ok {
        TestCaseStatus::success()
    } else {
        failed(NonSuccessKind::Failure, message)
    };
    TestCase::new(format!("{what}: {name}"), status)
}

fn failed(kind: NonSuccessKind, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}
