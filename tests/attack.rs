//! Guests that mean harm, and what everybody else notices of them: nothing.

use serde_json::json;

use crate::support::{Fleet, guests};

#[test]
fn what_is_told_is_said_and_a_describe_that_does_not_answer_is_refused() {
    let fleet = Fleet::new(
        "[agents.a]\ncomponent = \"plugins/a.wasm\"\n[agents.b]\ncomponent = \"plugins/b.wasm\"\n",
    );
    fleet.plugin("a", &guests::storied(&json!({ "name": "Anna", "triggers": ["what is told"] })));
    fleet.plugin("b", &guests::storied(&json!({ "describe": "wait" })));
    let server = fleet.serve();
    let page = server.agent("a");
    assert_eq!((&page["name"], &page["triggers"]), (&json!("Anna"), &json!(["what is told"])), "{page}");
    assert_eq!(server.call("a", "hello").expect(200)["response"], "hello");
    server.wait_for_failure("b", &["describe"]);
}

#[test]
fn a_component_may_hold_components_that_pass_texts_to_each_other() {
    let server = Fleet::new("[agents.transcode]\ncomponent = \"<transcode>\"\n").serve();
    for query in ["a2 64", "b2 64", "c2 64", "d2 64", "e2 64", "f2 64"] {
        assert_eq!(server.call("transcode", query).expect(200)["response"], "(text)", "{query}");
    }
}
