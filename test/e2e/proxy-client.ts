/** The MCP SDK's own client, on a server as it is or behind the proxy's command line. */
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
export const BIN: string = path('cli/bin.js');
export const EVERYTHING = [
  process.execPath,
  path('node_modules/@modelcontextprotocol/server-everything/dist/index.js'),
  'stdio',
];
export const FILESYSTEM = [
  process.execPath,
  path('node_modules/@modelcontextprotocol/server-filesystem/dist/index.js'),
];

export interface Connected extends AsyncDisposable {
  readonly client: Client;
  /** What the client was asked or told, in order. */
  readonly heard: unknown[];
  readonly pid: number;
  readonly said: () => string;
}

/** The environment of a machine on which nothing is set up. */
export const bareEnv = (home: string): Record<string, string> => ({ PATH: process.env['PATH'] ?? '', HOME: home });

export const proxied = (flags: readonly string[], server: readonly string[]): string[] => [
  process.execPath,
  BIN,
  'proxy',
  ...flags,
  '--',
  ...server,
];

export async function connect(command: readonly string[], env: Record<string, string>): Promise<Connected> {
  const heard: unknown[] = [];
  const [program = '', ...args] = command;
  const transport = new StdioClientTransport({ command: program, args, env, stderr: 'pipe' });
  let said = '';
  transport.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const client = new Client(
    { name: 'test', version: '1' },
    { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
  );
  client.setRequestHandler(CreateMessageRequestSchema, async ({ params }) => {
    heard.push({ sampling: params.messages });
    return { model: 'm', role: 'assistant', content: { type: 'text', text: 'sampled' } };
  });
  client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
    heard.push({ elicitation: params.message });
    return { action: 'decline' };
  });
  client.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [{ uri: 'file:///tmp', name: 'tmp' }] }));
  client.setNotificationHandler(
    LoggingMessageNotificationSchema,
    ({ params }) => void heard.push({ log: params.level }),
  );
  client.setNotificationHandler(
    ResourceUpdatedNotificationSchema,
    ({ params }) => void heard.push({ updated: params.uri }),
  );
  await client.connect(transport);
  return { client, heard, pid: transport.pid ?? 0, said: () => said, [Symbol.asyncDispose]: () => client.close() };
}
