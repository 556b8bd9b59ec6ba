/**
 * A tool that another organisation exposes, called by an agent of this one, and a message to the agent there. Both sides
 * decide by their own policies, log it, and sign a receipt.
 *
 * Start a daemon (`npm start`) that knows the other one, and be granted `mcp:SERVER/*` and `mesh:message` there
 * (docs/calls.md); then give DIDs of the own agent and of the other one, server, tool and arguments:
 * node -C agentmesh-source examples/call-tool.ts did:mesh:… did:mesh:… files read_text_file '{"path":"/srv/q3.txt"}'
 */
import { randomUUID } from 'node:crypto';
import { isMeshError, TrustBridge } from 'agentmesh/sdk';

const [as, peer = '', server = '', tool = '', text = '{}'] = process.argv.slice(2);
const args = JSON.parse(text) as Readonly<Record<string, unknown>>;
const key = randomUUID(); // asked again with it, what was done is not done twice
await using bridge = new TrustBridge({ as });

try {
  const { content, receipt } = await bridge.call(peer, server, tool, args, { key });
  for (const part of content) if (part['type'] === 'text') console.log(part['text']);
  if (receipt !== null) console.log(`${receipt.half ? 'Half receipt' : 'Receipt'} ${receipt.id}: ${receipt.out}`);
} catch (error) {
  if (!isMeshError(error)) throw error;
  console.log(`Not done, or not known: ${error.code}, ${error.message}`); // who says no, and by which rule or link
}

const { state } = await bridge.sendMessage(peer, `${tool} was called`);
console.log(`Message ${state}`);
