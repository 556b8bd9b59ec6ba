/**
 * A tool under policy, in two lines: what govern.yaml does not let through does not run, and all of it is in the log.
 *
 * Start a daemon (`npm start`) and make an agent (`agentmesh init`, `agentmesh register`), then give its name or DID:
 * node -C agentmesh-source examples/govern.ts clerk
 *
 * Without one it acts as the agent whose token is in AGENTMESH_AGENT_TOKEN, as `agentmesh run` gives it.
 */
import { join } from 'node:path';
import { govern } from 'agentmesh/sdk';

async function sendReport({ to, text }: { to: string; text: string }): Promise<string> {
  return `Sent ${text.length} letters to ${to}; questions go to help@example.com`;
}

await using send = govern(sendReport, { agent: process.argv[2], policy: join(import.meta.dirname, 'govern.yaml') });

console.log(await send({ to: 'finance', text: 'All is well' }));
const refused = await send({ to: 'finance', text: 'Ask bob@example.com' });
console.log(typeof refused === 'string' ? refused : refused.content[0]?.text);
