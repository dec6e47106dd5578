"""The agent: what it says about itself, and how it answers a task."""

import json
import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.agent import Description, Example, Failure_InvalidInput, Reply, Task
from wit_world.imports import logging

WHOM = re.compile(r"(?:greet|say hello to)\s+(.+)", re.IGNORECASE)


class Agent(exports.Agent):
    def describe(self) -> Description:
        return Description(
            name="My Agent",
            description="Greets people by their name.",
            version="0.1.0",
            category="example",
            triggers=["greet", "say hello"],
            examples=[
                Example(task="Greet Ada", expected="Hello, Ada!"),
                Example(task="Say hello to Grace", expected=None),
            ],
            context_schema=None,
            model=None,
            cost_per_query=None,
            default_query=None,
        )

    def handle(self, task: Task) -> Reply:
        whom = WHOM.fullmatch(task.query)
        if whom is None:
            raise Err(Failure_InvalidInput('say whom to greet, as in "Greet Ada"'))
        name = whom[1]
        logging.log(logging.Level.INFO, "", f"greeting {name}")
        return Reply(response=f"Hello, {name}!", data=json.dumps({"name": name}), model=None)
