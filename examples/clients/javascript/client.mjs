#!/usr/bin/env node
// Asks a Stockade host, from JavaScript: in Node 18 or later, and the functions in browsers, too.
//
//     export STOCKADE_KEY=...           # not needed where the host runs with --allow-anonymous
//     node client.mjs http://127.0.0.1:8001 "Check CPU usage on the server"
//
// A page on another origin needs it in `allowed_origins` of [server].

/** One host. Every method gives what the host answered, as it came. */
export class Orchestrator {
  constructor(baseUrl = 'http://127.0.0.1:8001', apiKey = undefined) {
    this.baseUrl = baseUrl.replace(/\/$/, '');
    this.headers = { 'Content-Type': 'application/json' };
    if (apiKey) this.headers.Authorization = `Bearer ${apiKey}`;
  }

  /** The agents that this key may call. */
  listAgents(category) {
    const query = category ? `?category=${encodeURIComponent(category)}` : '';
    return this.#ask(`/orchestrator/agents${query}`);
  }

  /** Which agent a task is for, without running it. */
  routeTask(task, autoSelect = true) {
    return this.#ask('/orchestrator/route', { task, auto_select: autoSelect });
  }

  /** Finds the agent for a task and asks it. */
  executeTask(task, context = undefined) {
    return this.#ask('/orchestrator/smart-execute', { task, context });
  }

  async #ask(path, body = undefined) {
    const response = await fetch(this.baseUrl + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: this.headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) {
      throw Object.assign(new Error(`${answer.message} (${answer.code})`), { status: response.status, answer });
    }
    return answer;
  }
}

async function main([url = process.env.STOCKADE_SERVER, task = 'Check CPU usage on the server']) {
  const host = new Orchestrator(url, process.env.STOCKADE_KEY);
  const agents = await host.listAgents();
  console.log(`agents: ${agents.map((agent) => agent.id).join(', ')}`);
  const routed = await host.routeTask(task);
  console.log(`routed: ${routed.status} ${routed.agent?.agent_id}`);
  const answer = await host.executeTask(task);
  console.log(`${answer.agent_name}: ${answer.response}`);
}

if (typeof process !== 'undefined' && process.argv[1] && import.meta.url.endsWith('client.mjs')) {
  main(process.argv.slice(2)).catch((error) => {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  });
}
