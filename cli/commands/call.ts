import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { isMeshError, limits, MeshError } from '../../protocol/index.ts';
import { isPresetName } from '../../protocol/policy/presets.ts';
import { type CallToolOptions, type ToolResult, TrustBridge } from '../../sdk/index.ts';
import { integerBetween, parsePurpose } from '../arguments.ts';
import { EXIT, type ExitCode } from '../exit.ts';
import { readBounded, writeWhole } from '../files.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findLink, findMeshDid, speakerOf } from '../lookup.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { plain, plainLines } from '../text/plain.ts';

interface CallFlags {
  readonly args?: string;
  readonly as?: string;
  readonly grant?: string;
  readonly purpose?: string;
  readonly policy: string;
  readonly key?: string;
  readonly timeout?: number;
  readonly receipt?: string;
}

export function addCall(program: Command, act: Act): void {
  withHelp(program.command('call'), {
    summary: 'Call a tool that another organisation exposes',
    about:
      'The daemon reaches the other organisation, both sides decide by their own policies, and both sign a receipt of what was asked and ' +
      'answered. Called again with the same --key, what was done is not done twice. "services" lists what may be called.',
    examples: [
      ['call did:mesh:bafyrei… files read_text_file --args \'{"path":"/data/q3.txt"}\'', 'as the only agent here'],
      [
        'call did:mesh:bafyrei… files list_directory --as my-agent --args @args.json',
        'as one of several, with what was granted to it',
      ],
      [
        'call did:mesh:bafyrei… files write_file --args - --key order-2026-0042-a --receipt q3.receipt',
        'and keep the receipt',
      ],
    ],
  })
    .argument('<did>', 'DID of the agent or organisation')
    .argument('<server>', 'name under which it exposes the server')
    .argument('<tool>', 'name of the tool')
    .option('--args <json>', 'its arguments: a JSON object, "@FILE", or "-" for standard input (default: none)')
    .option('--as <agent>', 'own agent that calls; without it the only one (DID of the organisation: itself)')
    .option('--grant <link>', 'last link of the chain to present; without it the one that covers most')
    .option('--purpose <word>', 'what it is for, as grants name purposes', parsePurpose)
    .option(
      '--policy <policy>',
      'strict, moderate, permissive, or a file; the policies of the daemon hold beside it',
      'permissive',
    )
    .option(
      '--key <text>',
      '16 to 64 visible letters of ASCII; with it a call may be repeated safely (default: random)',
    )
    .option('--timeout <seconds>', 'give up after it', integerBetween(1, 3_600))
    .option('--receipt <file>', 'where to write the receipt, for whoever wants proof of the call')
    .action(act(call));
}

async function call(
  invocation: Invocation,
  text: string,
  server: string,
  tool: string,
  flags: CallFlags,
): Promise<ExitCode> {
  const { world } = invocation;
  const key = flags.key ?? randomBytes(16).toString('base64url');
  if (!/^[\x21-\x7e]{16,64}$/.test(key))
    throw new UsageError(`Cannot take "${plain(key)}" for --key: want 16 to 64 visible letters of ASCII`);
  const args = await argsOf(flags.args, invocation);
  const mesh = await invocation.mesh();
  const did = await findMeshDid(mesh, text);
  const as = await speakerOf(mesh, flags.as);
  const { purpose, policy, timeout } = flags;
  const options: CallToolOptions = {
    key,
    purpose,
    grant: flags.grant === undefined ? undefined : await findLink(mesh, flags.grant),
    policy: isPresetName(policy) ? policy : resolve(world.cwd, policy),
    timeoutMs: timeout === undefined ? undefined : 1_000 * timeout,
    signal: invocation.signal,
    onProgress: ({ progress, total, message = '' }) => {
      const share = total === undefined ? '' : `${progress} of ${total} `;
      if (!invocation.json) invocation.note(message === '' && share === '' ? String(progress) : `${share}${message}`);
    },
  };
  await using bridge = new TrustBridge({ mesh: mesh.client, as });
  let result: ToolResult;
  try {
    result = await bridge.call(did, server, tool, args, options);
  } catch (error) {
    const { receipt } = isMeshError(error) ? error.data : {};
    if (typeof receipt === 'string') await keep(receipt, invocation, flags.receipt);
    throw repeatable(error, key);
  }
  const { content, structuredContent, isError, receipt } = result;
  const answer = { did, server, tool, key, isError, content, ...(structuredContent && { structuredContent }), receipt };
  invocation.answer(answer, () => textOf(result));
  if (isError && !invocation.json) invocation.note('The tool says that this is an error');
  if (receipt === null) invocation.note('There is no receipt of this call');
  else await keep(receipt.id, invocation, flags.receipt);
  return isError ? EXIT.failure : EXIT.ok;
}

/** Errors: usage, not_found, permissions, too_large. */
async function argsOf(text: string | undefined, { world }: Invocation): Promise<Readonly<Record<string, unknown>>> {
  if (text === undefined) return {};
  const bytesMax = limits.MCP_MESSAGE_BYTES_MAX;
  const bytes =
    text === '-'
      ? await world.readInput(bytesMax)
      : text.startsWith('@')
        ? await readBounded(resolve(world.cwd, text.slice(1)), bytesMax)
        : Buffer.from(text);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw new UsageError('Cannot read --args: it is not JSON', 'as in: --args \'{"path":"/data/q3.txt"}\'');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UsageError('Cannot read --args: want a JSON object', 'as in: --args \'{"path":"/data/q3.txt"}\'');
  return value as Readonly<Record<string, unknown>>;
}

/** Written to the file that was named, else where to find it is said. */
async function keep(id: string, invocation: Invocation, file: string | undefined): Promise<void> {
  if (file === undefined) return invocation.suggest('see what both sides signed', 'receipt', 'show', id);
  const mesh = await invocation.mesh();
  const answer = await mesh.call('receiptFile', { params: { id } });
  const path = resolve(invocation.world.cwd, file);
  await writeWhole(path, Buffer.from(answer.file, 'base64url'));
  if (!invocation.json) invocation.note(`wrote ${path}`);
}

/** With how to do it again where that is safe and may be wanted. */
function repeatable(error: unknown, key: string): unknown {
  if (!isMeshError(error) || !['outcome_unknown', 'timeout'].includes(error.code)) return error;
  const next = `repeat it with --key '${key}': what was done is not done twice`;
  return new MeshError(error.code, error.message, { ...error.data, key, next }, { cause: error });
}

/** What a person reads; the rest is for programs, with --json. */
function textOf({ content, structuredContent }: ToolResult): string {
  const parts = content.map(({ type, text, uri, mimeType, resource }) => {
    if (type === 'text') return plainLines(String(text));
    const inner = (resource ?? {}) as { readonly uri?: unknown; readonly text?: unknown };
    if (typeof inner.text === 'string') return plainLines(inner.text);
    return plain(`[${[type, uri ?? inner.uri, mimeType].filter((part) => typeof part === 'string').join(' ')}]`);
  });
  if (parts.length === 0 && structuredContent !== undefined)
    parts.push(plainLines(JSON.stringify(structuredContent, null, 2)));
  return parts.map((part) => (part.endsWith('\n') ? part : `${part}\n`)).join('');
}
