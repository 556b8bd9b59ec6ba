/**
 * The identity example of the Python project of which AgentMesh is the successor, line for line:
 *
 *   identity = AgentIdentity.create(name="data-analyst-agent", sponsor="alice@company.com",
 *                                   capabilities=["read:data", "write:reports"])
 *   sub_agent = identity.delegate(name="summarizer-subagent", capabilities=["read:data"])
 *
 * Start a daemon (`npm start`), then: node -C agentmesh-source examples/seed-identity.ts
 */
import { AgentIdentity, verifyChain } from 'agentmesh/sdk';

const identity = await AgentIdentity.create({
  name: 'data-analyst-agent',
  sponsor: 'alice@company.com',
  capabilities: ['read:data', 'write:reports'],
});
const subAgent = await identity.delegate({ name: 'summarizer-subagent', capabilities: ['read:data'] });

// What the older library could not do: anybody can check the delegation, without asking the daemon that made it.
const report = verifyChain(await subAgent.bundle(), { roots: [identity.organisation], capabilities: ['read:data'] });
process.stdout.write(`${identity.name} is ${identity.did}\n`);
process.stdout.write(`${subAgent.name} is ${subAgent.did}\n`);
process.stdout.write(`Its chain of ${report.ids.length} links was verified here: ${report.checked.join(', ')}\n`);

// The sub-agent can hold no more than its parent has.
const widened = await identity
  .delegate({ name: 'greedy-subagent', capabilities: ['admin:all'] })
  .catch((error: unknown) => error);
process.stdout.write(`${String(widened)}\n`);

await subAgent.revoke('the example is over');
await identity.revoke('the example is over');
