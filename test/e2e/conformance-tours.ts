/** What the clients of both SDKs see of the conformance server: everything that takes a way of its own through a transport. */
import { Client as ModernClient } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { until } from '../cli/proxy/http-requests.ts';

export interface Heard {
  readonly asked: string[];
  readonly logs: unknown[];
}

export interface Legacy {
  readonly client: Client;
  readonly heard: Heard;
}

/** The most used SDK, up to 2025-11-25. */
export async function connectLegacy(transport: Transport): Promise<Legacy> {
  const heard: Heard = { asked: [], logs: [] };
  const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };
  const client = new Client({ name: 'test', version: '1' }, { capabilities });
  client.setRequestHandler(CreateMessageRequestSchema, async () => {
    heard.asked.push('sampling');
    return { model: 'm', role: 'assistant', content: { type: 'text', text: 'sampled' } };
  });
  client.setRequestHandler(ElicitRequestSchema, async () => {
    heard.asked.push('elicitation');
    return { action: 'accept', content: { username: 'u', email: 'e@x.example' } };
  });
  client.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [{ uri: 'file:///tmp', name: 'tmp' }] }));
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void heard.logs.push(params.data));
  await client.connect(transport);
  return { client, heard };
}

export async function legacyTour({ client, heard }: Legacy): Promise<Record<string, unknown>> {
  const progress: number[] = [];
  await client.setLoggingLevel('debug');
  const call = (name: string, args: Record<string, unknown> = {}): Promise<unknown> =>
    client.callTool({ name, arguments: args });
  return {
    server: client.getServerVersion(),
    capabilities: client.getServerCapabilities(),
    tools: (await client.listTools()).tools.map(({ name }) => name),
    text: await call('test_simple_text'),
    image: await call('test_image_content'),
    mixed: await call('test_multiple_content_types'),
    failed: await call('test_error_handling'),
    unknown: await call('nosuch').catch(String),
    progressed: await client.callTool({ name: 'test_tool_with_progress', arguments: {} }, undefined, {
      onprogress: (one) => void progress.push(one.progress),
    }),
    progress,
    logged: await call('test_tool_with_logging'),
    logs: heard.logs,
    sampled: await call('test_sampling', { prompt: 'hello' }),
    elicited: await call('test_elicitation', { message: 'who?' }),
    asked: heard.asked,
    resource: await client.readResource({ uri: 'test://static-binary' }),
    template: await client.readResource({ uri: 'test://template/123/data' }),
    missing: await client.readResource({ uri: 'test://nosuch' }).catch(String),
    prompt: await client.getPrompt({ name: 'test_prompt_with_arguments', arguments: { arg1: 'ä', arg2: '🙂' } }),
    completion: await client.complete({
      ref: { type: 'ref/prompt', name: 'test_simple_prompt' },
      argument: { name: 'x', value: 'p' },
    }),
    subscribed: await client.subscribeResource({ uri: 'test://watched-resource' }),
    ping: await client.ping(),
    // Ended by the server in the middle, over HTTP: the client, or the proxy, goes on where it was.
    resumed: await call('test_reconnection'),
    // Many at once, each to its own.
    many: await Promise.all(
      Array.from({ length: 20 }, (_, n) => client.readResource({ uri: `test://template/${n}/data` })),
    ),
  };
}

export interface ModernView {
  readonly seen: Record<string, unknown>;
  readonly client: ModernClient;
}

/** The SDK of both eras, in the stateless one. */
export async function modernTour(transport: Parameters<ModernClient['connect']>[0]): Promise<ModernView> {
  const heard: string[] = [];
  const client = new ModernClient(
    { name: 'test', version: '1' },
    {
      capabilities: { sampling: {}, elicitation: {}, roots: {} },
      versionNegotiation: { mode: { pin: '2026-07-28' } },
      inputRequired: { autoFulfill: true },
    },
  );
  client.setRequestHandler('elicitation/create', async () => ({
    action: 'accept',
    content: { name: 'Ada', ok: true, color: 'red' },
  }));
  client.setRequestHandler('sampling/createMessage', async () => ({
    model: 'm',
    role: 'assistant',
    content: { type: 'text', text: 'Paris' },
  }));
  client.setRequestHandler('roots/list', async () => ({ roots: [{ uri: 'file:///tmp', name: 'tmp' }] }));
  client.setNotificationHandler('notifications/tools/list_changed', () => void heard.push('tools'));
  await client.connect(transport);
  const call = (name: string): Promise<unknown> => client.callTool({ name, arguments: {} });
  const progress: number[] = [];
  const subscription = await client.listen({ toolsListChanged: true });
  await call('test_trigger_tool_change');
  await until(() => heard.length > 0);
  await subscription.close();
  const seen = {
    version: client.getNegotiatedProtocolVersion(),
    tools: (await client.listTools()).tools.map(({ name }) => name),
    text: await call('test_simple_text'),
    progressed: await client
      .callTool(
        { name: 'test_tool_with_progress', arguments: {} },
        { onprogress: (one) => void progress.push(one.progress) },
      )
      .then(({ isError }) => isError ?? false),
    progress,
    elicited: await call('test_input_required_result_elicitation'),
    sampled: await call('test_input_required_result_sampling'),
    rounds: await call('test_input_required_result_multi_round'),
    resource: await client.readResource({ uri: 'test://static-text' }),
    missing: await client.readResource({ uri: 'test://nosuch' }).catch(String),
    heard,
    many: await Promise.all(
      Array.from({ length: 20 }, (_, n) => client.readResource({ uri: `test://template/${n}/data` })),
    ),
  };
  return { seen, client };
}
