import { setTimeout as sleep } from 'node:timers/promises';
import type { Connected } from './proxy-client.ts';

/** The server asks for roots after a while, and then has one tool more. */
const SETTLED_MS = 1_500;

/** Everything that the reference server has, as its client sees it. */
export async function tour({ client, heard }: Connected): Promise<unknown> {
  const seen: unknown[] = [client.getServerCapabilities(), client.getServerVersion(), client.getInstructions()];
  await sleep(SETTLED_MS);
  seen.push(await client.listTools());
  for (const [name, args] of [
    ['echo', { message: 'grüße 🚀 \u2028 \u0000'.slice(0, -1) }],
    ['get-sum', { a: 0.1, b: 2 }],
    ['get-structured-content', { location: 'Chicago' }],
    ['get-tiny-image', {}],
    ['get-annotated-message', { messageType: 'error', includeImage: true }],
    ['get-resource-links', { count: 2 }],
    ['get-sum', { a: 'no number' }],
    ['nosuch', {}],
  ] as const) {
    seen.push(await client.callTool({ name, arguments: args, _meta: { 'x/y': 1 } }).catch(String));
  }
  seen.push(await client.listPrompts(), await client.getPrompt({ name: 'args-prompt', arguments: { city: 'Bern' } }));
  seen.push(await client.getPrompt({ name: 'nosuch' }).catch(String));
  const { resources } = await client.listResources();
  seen.push(resources, await client.listResourceTemplates());
  for (const uri of [resources[0]?.uri ?? '', 'demo://resource/nosuch'])
    seen.push(await client.readResource({ uri }).catch(String));
  const ref = { type: 'ref/prompt', name: 'completable-prompt' } as const;
  seen.push(await client.complete({ ref, argument: { name: 'department', value: 'E' } }));
  await client.subscribeResource({ uri: 'demo://resource/static/document/features.md' });
  await client.unsubscribeResource({ uri: 'demo://resource/static/document/features.md' });
  await client.setLoggingLevel('debug');
  await client.ping();
  // The SDK's client may take the result first where it reads the last step and the result at once, proxy or not.
  const steps: unknown[] = [];
  seen.push(
    await client.callTool(
      { name: 'trigger-long-running-operation', arguments: { duration: 0.3, steps: 3 } },
      undefined,
      {
        onprogress: ({ progress, total }) => progress < 3 && steps.push([progress, total]),
      },
    ),
    steps,
  );
  seen.push(await client.callTool({ name: 'trigger-sampling-request', arguments: { prompt: 'hello' } }));
  seen.push(await client.callTool({ name: 'trigger-elicitation-request', arguments: {} }));
  seen.push(await client.callTool({ name: 'get-roots-list', arguments: {} }));
  const abort = new AbortController();
  const cancelled = client.callTool(
    { name: 'trigger-long-running-operation', arguments: { duration: 5, steps: 5 } },
    undefined,
    {
      signal: abort.signal,
    },
  );
  abort.abort('enough');
  seen.push(await cancelled.catch(() => 'cancelled'));
  seen.push(heard.filter((one) => !('log' in (one as object))));
  return seen;
}
