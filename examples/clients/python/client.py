#!/usr/bin/env python3
"""Asks a Stockade host, from Python.

    pip install requests
    export STOCKADE_KEY=...            # not needed where the host runs with --allow-anonymous
    python client.py --url http://127.0.0.1:8001 "Check CPU usage on the server"

Owns no state but the session to the host; copy the class into a program of your own.
"""

import argparse
import os
import sys

import requests


class OrchestratorError(Exception):
    """The host's own words on why there is no answer."""

    def __init__(self, status, failure):
        super().__init__(f"{failure.get('message', 'no message')} ({failure.get('code', status)})")
        self.status = status
        self.code = failure.get("code")
        self.request_id = failure.get("request_id")


class OrchestratorClient:
    """One host. Every method returns what the host answered, as it came."""

    def __init__(self, base_url="http://127.0.0.1:8001", api_key=None, timeout=60):
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.session = requests.Session()
        if api_key:
            self.session.headers["Authorization"] = f"Bearer {api_key}"

    def agents(self, category=None):
        """The agents that this key may call."""
        return self._ask("GET", "/orchestrator/agents", params={"category": category} if category else None)

    def stats(self):
        """The fleet in figures."""
        return self._ask("GET", "/orchestrator/stats")

    def route(self, task, auto_select=True):
        """Which agent a task is for, without running it."""
        return self._ask("POST", "/orchestrator/route", json={"task": task, "auto_select": auto_select})

    def execute(self, agent, query, context=None):
        """Asks one agent."""
        return self._ask("POST", "/orchestrator/execute", json={"agent": agent, "query": query, "context": context})

    def smart_execute(self, task, context=None):
        """Finds the agent for a task and asks it."""
        return self._ask("POST", "/orchestrator/smart-execute", json={"task": task, "context": context})

    def batch(self, tasks):
        """Many tasks at once, answered in their order; each may fail alone."""
        return self._ask("POST", "/orchestrator/batch", json=tasks)

    def _ask(self, method, path, **arguments):
        response = self.session.request(method, self.base_url + path, timeout=self.timeout, **arguments)
        body = response.json()
        if not response.ok:
            raise OrchestratorError(response.status_code, body)
        return body


def main():
    parser = argparse.ArgumentParser(description="Asks a Stockade host.")
    parser.add_argument("task", nargs="?", default="Check CPU usage on the server")
    parser.add_argument("--url", default=os.environ.get("STOCKADE_SERVER", "http://127.0.0.1:8001"))
    parser.add_argument("--key", default=os.environ.get("STOCKADE_KEY"))
    arguments = parser.parse_args()
    client = OrchestratorClient(arguments.url, arguments.key)
    try:
        print("agents:", ", ".join(agent["id"] for agent in client.agents()))
        routed = client.route(arguments.task)
        print("routed:", routed["status"], (routed["agent"] or {}).get("agent_id"))
        answer = client.smart_execute(arguments.task)
        print(f"{answer['agent_name']}: {answer['response']}")
        again = client.execute(answer["agent"], arguments.task)
        print(f"again in {again['execution_time_ms']} ms, for {again['receipt']['fuel']} fuel")
        results = client.batch([arguments.task, "What is 6 times 7?"])
        print("batch:", ", ".join(item["agent"] if item["success"] else item["code"] for item in results))
    except OrchestratorError as error:
        sys.exit(f"error: {error}")
    except requests.ConnectionError as error:
        sys.exit(f"error: cannot reach {arguments.url}: {error}")


if __name__ == "__main__":
    main()
