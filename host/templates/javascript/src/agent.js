// The agent: what it says about itself, and how it answers a task.

import { log } from "wasi:logging/logging@0.1.0-draft";

export const agent = {
  describe() {
    return {
      name: "My Agent",
      description: "Greets people by their name.",
      version: "0.1.0",
      category: "example",
      triggers: ["greet", "say hello"],
      examples: [{ task: "Greet Ada", expected: "Hello, Ada!" }, { task: "Say hello to Grace" }],
    };
  },

  handle(task) {
    const whom = /^(?:greet|say hello to)\s+(.+)$/i.exec(task.query);
    // A failure is thrown; its tag is one of `invalid-input`, `denied`, `unavailable` and `failed`.
    if (!whom) throw { tag: "invalid-input", val: 'say whom to greet, as in "Greet Ada"' };
    const name = whom[1];
    log("info", "", `greeting ${name}`);
    return { response: `Hello, ${name}!`, data: JSON.stringify({ name }) };
  },
};
