import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type Capability, isErrorCode, isMeshError, limits, MeshError, parseRoots } from '../../protocol/index.ts';
import { capabilitiesOf, collect, parseCan, parseDid, parseTime } from '../arguments.ts';
import { findDaemon } from '../daemon-process.ts';
import { EXIT, type ExitCode } from '../exit.ts';
import { isFile, readBounded, readTrusted } from '../files.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findLink, isIdPrefix } from '../lookup.ts';
import type { Mesh } from '../mesh.ts';
import { nextOf } from '../problem.ts';
import type { Act } from '../program.ts';
import { checkBundle, refusedBy } from '../verification.ts';
import { type Checked, formatChecked } from '../views/chains.ts';

/** Base64url takes a third more, and JSON around it little. */
const FILE_BYTES_MAX = 2 * limits.BUNDLE_BYTES_MAX;

interface VerifyOptions {
  readonly root?: readonly string[];
  readonly can?: readonly string[];
  readonly at?: number;
}

export function addVerifyChain(program: Command, act: Act): void {
  withHelp(program.command('verify-chain'), {
    summary: 'Check a chain, offline, and explain each link',
    about:
      'A file is checked in this process, from its bytes alone: no daemon and no network. An id is looked up in the running daemon first. The ' +
      'chain has to begin at an organisation that you trust: --root, else those of the home; without any the answer is unknown_root. What is ' +
      'too old to rely on is status_stale, never valid. Exit code 3 if it does not verify.',
    examples: [
      ['verify-chain q3.chain --root did:mesh:bafyrei…', 'does it stand?'],
      ['verify-chain q3.chain --root did:mesh:bafyrei… --can read:reports/q3', 'may its holder do this?'],
      ['verify-chain bafyreiabcdef --can read:reports/q3', 'a chain that the daemon holds'],
      ['verify-chain q3.chain --at 2026-11-18T11:06:40Z', 'did it then?'],
    ],
  })
    .argument('<file|id>', 'file of "chain export", "-" for standard input, or the id of a link (or its beginning)')
    .option('--root <did>', 'organisation that is trusted as a root; may be repeated', collect(parseDid))
    .option('--can <capability>', 'what is to be done with it; may be repeated', collect(parseCan))
    .option('--at <time>', 'as of then, like 2026-11-18T11:06:40Z (default: now)', parseTime)
    .action(act(verify));
}

async function verify(invocation: Invocation, named: string, options: VerifyOptions): Promise<ExitCode> {
  const { world } = invocation;
  const capabilities = capabilitiesOf(options.can ?? []);
  const nowMs = options.at ?? world.nowMs();
  const file = resolve(world.cwd, named);
  const isFromFile = named === '-' || isFile(file) || !isIdPrefix(named);
  const roots = options.root ?? (await rootsOfHome(invocation));
  if (isFromFile) {
    const bytes = bundleIn(
      named === '-' ? await world.readInput(FILE_BYTES_MAX) : await readBounded(file, FILE_BYTES_MAX),
    );
    const checked = checkBundle(bytes, { roots, capabilities, nowMs });
    return report(invocation, checked, { roots, source: named === '-' ? { stdin: true } : { file } });
  }
  const mesh = await invocation.mesh();
  const leaf = await findLink(mesh, named);
  const answer = await mesh.call('chainBundle', { params: { leaf } });
  const own = checkBundle(Buffer.from(answer.bundle, 'base64url'), { roots, capabilities, nowMs });
  const asked = own.data['reason'] === 'not_asked' && options.at === undefined && roots.length > 0;
  const checked = asked ? await askDaemon(mesh, leaf, roots, capabilities) : own;
  return report(invocation, checked, { roots, source: { leaf }, ...(asked && { checkedBy: 'daemon' }) });
}

/** For what is critical only an issuer's answer to a nonce of this moment will do, which no bundle can hold. */
async function askDaemon(
  mesh: Mesh,
  leaf: string,
  roots: readonly string[],
  capabilities: Capability[],
): Promise<Checked> {
  try {
    const report = await mesh.call('chainVerify', { params: { leaf }, body: { roots: [...roots], capabilities } });
    return { ok: true, code: null, message: null, data: {}, report };
  } catch (error) {
    return refusedBy(error);
  }
}

function report(invocation: Invocation, checked: Checked, about: Readonly<Record<string, unknown>>): ExitCode {
  const { ok, code, message, data } = checked;
  invocation.answer({ ok, code, message, data, checkedBy: 'this process', ...about, report: checked.report }, (view) =>
    formatChecked(checked, view),
  );
  const next = isErrorCode(code) ? nextOf(code, invocation.place) : null;
  if (next !== null && !invocation.json) invocation.note(`next  ${next}`);
  return ok ? EXIT.ok : EXIT.refused;
}

/** Those of the running daemon, else those that it left in the home; none where there is neither. */
export async function rootsOfHome({ paths, world }: Invocation): Promise<readonly string[]> {
  const mesh = await findDaemon(paths, world);
  if (mesh !== undefined) return (await mesh.call('rootList')).roots.map(({ did }) => did);
  const text = await readTrusted(paths.roots, world.uid, limits.ROOTS_BYTES_MAX);
  return text === undefined ? [] : parseRoots(text);
}

/** A bundle's bytes, as they are or in the JSON of "chain export --json". */
function bundleIn(bytes: Uint8Array): Uint8Array {
  if (bytes[0] !== 0x7b) return bytes; // "{", which no bundle begins with
  try {
    const { bundle } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { bundle?: unknown };
    if (typeof bundle === 'string') return Buffer.from(bundle, 'base64url');
  } catch (cause) {
    if (isMeshError(cause)) throw cause;
    throw new MeshError('malformed', 'Cannot read a chain: it begins like JSON, but is none', {}, { cause });
  }
  throw new MeshError('malformed', 'Cannot read a chain: the JSON has no "bundle"');
}
