import { rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { DidView, RetireEntry } from '../../protocol/control/index.ts';
import { digestOf, isMeshError, limits, MeshError, parseMultikeyText, publicJwk } from '../../protocol/index.ts';
import { collect, parseReason, secondsBetween } from '../arguments.ts';
import { EXIT, exitOf } from '../exit.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { type NewKey, passphraseIn, readKeys, writeNewKey } from '../key-files.ts';
import { findMeshDid } from '../lookup.ts';
import type { Mesh } from '../mesh.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatBytes } from '../text/time.ts';
import { formatDidView, formatOperation, formatResolved } from '../views/dids.ts';

const RECOVERY_KEYS = 3;
const RECOVERY_THRESHOLD = 2; // as an organisation begins: one may be lost, one alone is no use to a thief
const FORMATS = ['document', 'log', 'jwk'] as const;
type Format = (typeof FORMATS)[number];

export function addDid(program: Command, act: Act): void {
  const did = withHelp(program.command('did'), {
    summary: 'DIDs: what is known of them, and the keys of your own',
    examples: [
      ['did show', "your organisation's"],
      ['did resolve did:mesh:bafyrei…', "somebody else's, asked for on the mesh"],
      ['did rotate', 'new keys for your organisation'],
      ['did export my-agent --format jwk', 'its public keys'],
    ],
  });
  addShow(did, act);
  addResolve(did, act);
  addRotate(did, act);
  addRecover(did, act);
  addExport(did, act);
}

const NAMED = 'DID, or name of an own agent';

/** The one that is named, else that of the organisation. */
async function didOf(mesh: Mesh, text: string | undefined): Promise<string> {
  return text === undefined ? (await mesh.call('status')).organisation.did : findMeshDid(mesh, text);
}

function addShow(did: Command, act: Act): void {
  withHelp(did.command('show'), {
    summary: 'What is held here about a DID',
    about:
      'State, keys and DID document as they follow from the operations that this daemon holds. Without a DID your organisation is meant.',
    examples: [
      ['did show', 'your organisation'],
      ['did show my-agent --json | jq .document', 'a DID document'],
    ],
  })
    .argument('[did]', NAMED)
    .action(
      act(async (invocation, text: string | undefined) => {
        const mesh = await invocation.mesh();
        const answer = await mesh.call('didShow', { params: { did: await didOf(mesh, text) } });
        invocation.answer(answer, (view) => formatDidView(answer, view));
      }),
    );
}

function addResolve(did: Command, act: Act): void {
  withHelp(did.command('resolve'), {
    summary: 'Resolve a DID on the mesh',
    about:
      'Here, then from connected peers, then from providers in the DHT. Every answer is verified from its genesis.',
    examples: [['did resolve did:mesh:bafyrei…', 'says from where it came']],
  })
    .argument('<did>', NAMED)
    .action(
      act(async (invocation, text: string) => {
        const mesh = await invocation.mesh();
        const answer = await mesh.call('didResolve', { params: { did: await findMeshDid(mesh, text) } });
        invocation.answer(answer, (view) => formatResolved(answer, view));
      }),
    );
}

interface RetireOptions {
  readonly key?: readonly string[];
  readonly retire?: readonly string[];
  readonly grace?: number;
  readonly dead?: true;
  readonly keep?: readonly string[];
  readonly reason?: string;
  readonly passphraseFile?: string;
}

function addRotate(did: Command, act: Act): void {
  withHelp(did.command('rotate'), {
    summary: "Replace your organisation's keys",
    about:
      'Each retired key is replaced by a new one of the same uses; without --retire all of them. What a retired key signed counts for the time ' +
      'of --grace; with --dead, for a stolen key, no longer but for the links named by --keep. The rotation key that signs was committed to ' +
      'before: the daemon holds it, unless you keep it elsewhere and name its file.',
    examples: [
      ['did rotate', 'as a habit'],
      ['did rotate --retire z6Mk… --dead --reason "host compromised"', 'after a theft'],
      ['did rotate --key /media/usb/rotation-1.key', 'with a rotation key kept elsewhere'],
    ],
  })
    .option('--retire <key>', 'key to replace, as "did show" lists it; may be repeated (default: all)', collect(String))
    .option(
      '--grace <time>',
      'how long what it signed still counts, at most 1d (default: 1d)',
      secondsBetween(0, limits.GRACE_SECONDS_MAX, 'from 0s to 1d'),
    )
    .addOption(new Option('--dead', 'at once, for keys that somebody else may have').conflicts('grace'))
    .option('--keep <link>', 'link of a dead key that still counts, by its full id; may be repeated', collect(String))
    .option('--key <file>', 'rotation key that is kept elsewhere; may be repeated', collect(String))
    .option('--passphrase-file <file>', 'passphrase of these files (default: $AGENTMESH_PASSPHRASE_FILE)')
    .option('--reason <text>', 'why, for the record of this daemon', parseReason)
    .action(act(rotate));
}

async function rotate(invocation: Invocation, options: RetireOptions): Promise<void> {
  const mesh = await invocation.mesh();
  const signers =
    options.key === undefined ? undefined : await readKeys(invocation.world, options.key, options.passphraseFile);
  const { signal } = invocation;
  const retire = await retirements(mesh, options, options.dead === true);
  const answer = await mesh.client.organisation.rotate(
    { retire, ...(options.reason !== undefined && { reason: options.reason }) },
    { signal, ...(signers !== undefined && { signers }) },
  );
  invocation.answer(answer, (view) => formatOperation(answer, answer.files, view));
}

/** What becomes of the keys that are named, or of all. */
async function retirements(
  mesh: Mesh,
  { retire, grace, keep = [] }: RetireOptions,
  dead: boolean,
): Promise<RetireEntry[]> {
  const known = await mesh.call('didShow', { params: { did: await didOf(mesh, undefined) } });
  const graceSeconds = dead ? null : (grace ?? limits.GRACE_SECONDS_MAX);
  if (!dead && keep.length > 0) throw new UsageError('Cannot keep links: --keep goes with --dead only');
  return keysToRetire(known, retire).map((key) => ({ key, graceSeconds, ...(keep.length > 0 && { keep: [...keep] }) }));
}

function keysToRetire({ keys }: DidView, named: readonly string[] | undefined): string[] {
  const current = keys.filter(({ standing }) => standing === 'current').map(({ key }) => key);
  if (named === undefined) return current;
  const unknown = named.find((key) => !current.includes(key));
  if (unknown === undefined) return [...new Set(named)];
  throw new MeshError('not_found', `Cannot retire "${unknown}": it is no current key of this organisation`, {
    key: unknown,
    next: 'see "agentmesh did show"',
  });
}

function addRecover(did: Command, act: Act): void {
  withHelp(did.command('recover'), {
    summary: 'Take your organisation back with its recovery keys',
    about:
      'For when its keys are stolen or lost, or its DID is frozen by two histories. The recovery keys sign here and never reach the daemon. All ' +
      'current keys are replaced, and count as stolen unless --grace says otherwise. New recovery keys are made in a folder to be taken ' +
      'offline; the old ones are worthless afterwards.',
    examples: [
      ['did recover --key /media/a/recovery-1.key --key /media/b/recovery-2.key', 'with two of three'],
      ['did recover --key a.key --key b.key --out /media/c', 'new recovery keys straight to another place'],
    ],
  })
    .requiredOption('--key <file>', 'recovery key; repeat it for each', collect(String))
    .option('--retire <key>', 'key to replace; may be repeated (default: all)', collect(String))
    .option(
      '--grace <time>',
      'how long what the replaced keys signed still counts (default: not at all)',
      secondsBetween(0, limits.GRACE_SECONDS_MAX, 'from 0s to 1d'),
    )
    .option(
      '--keep <link>',
      'link of a replaced key that still counts, by its full id; may be repeated',
      collect(String),
    )
    .option('--out <dir>', 'folder for the new recovery keys (default: "recovery" in the home)')
    .option(
      '--passphrase-file <file>',
      'passphrase of these files, and of the new ones (default: $AGENTMESH_PASSPHRASE_FILE)',
    )
    .option('--reason <text>', 'why, for the record of this daemon', parseReason)
    .action(act(recover));
}

async function recover(invocation: Invocation, options: RetireOptions & { readonly out?: string }): Promise<void> {
  const { world, paths, signal } = invocation;
  const mesh = await invocation.mesh();
  const own = await mesh.call('didShow', { params: { did: await didOf(mesh, undefined) } });
  const signers = await readKeys(invocation.world, options.key ?? [], options.passphraseFile);
  if (signers.length < own.recovery.threshold) {
    throw new UsageError(
      `Cannot recover with ${signers.length} of the recovery keys: want ${own.recovery.threshold}`,
      'name each with --key FILE',
    );
  }
  const retire = await retirements(mesh, options, options.grace === undefined);
  const passphrase = await passphraseIn(world, options.passphraseFile);
  const directory = options.out === undefined ? paths.recovery : resolve(world.cwd, options.out);
  const made = await makeRecoveryKeys(directory, own.seq + 1, passphrase);
  const commitments = made.map(({ publicKey }) => Buffer.from(digestOf(publicKey)).toString('base64url'));
  const recovery = { commitments, threshold: RECOVERY_THRESHOLD };
  const reason = options.reason === undefined ? {} : { reason: options.reason };
  const answer = await orRemoved(made, () =>
    mesh.client.organisation.recover({ retire, recovery, ...reason }, { signers, signal }),
  );
  const files = [...answer.files, ...made.map(({ file }) => file)];
  invocation.answer({ ...answer, files }, (view) => formatOperation(answer, files, view));
  if (passphrase === undefined) {
    invocation.note(
      'The new recovery keys are not encrypted: a passphrase given with --passphrase-file encrypts them.',
    );
  }
}

/** On disk before anything commits to them. */
async function makeRecoveryKeys(directory: string, seq: number, passphrase: string | undefined): Promise<NewKey[]> {
  const made: NewKey[] = [];
  for (let i = 0; i < RECOVERY_KEYS; i++) made.push(await writeNewKey(directory, `recovery-${seq}`, passphrase));
  return made;
}

/** Where it is refused nothing committed to the keys; after any other failure perhaps something did, so they stay. */
async function orRemoved<T>(made: readonly NewKey[], operate: () => Promise<T>): Promise<T> {
  try {
    return await operate();
  } catch (error) {
    if (!isMeshError(error) || exitOf(error.code) !== EXIT.refused) throw error;
    for (const { file } of made) await rm(file, { force: true });
    if (error.code !== 'not_entitled') throw error;
    const next = 'want the newest recovery keys: each recovery replaces them';
    throw new MeshError('not_entitled', 'Cannot recover: these are not the recovery keys that it is committed to', {
      ...error.data,
      next,
    });
  }
}

function addExport(did: Command, act: Act): void {
  withHelp(did.command('export'), {
    summary: 'A DID for others: its document, its signed log, or its public keys',
    about:
      'document: a DID 1.1 document. log: every operation as it was signed, from which anybody can verify the DID. jwk: the current public keys ' +
      'as a JWK set. Never private keys. Without a DID your organisation is meant.',
    examples: [
      ['did export > did.json', 'the DID document of your organisation'],
      ['did export my-agent --format jwk', 'public keys of an agent'],
      ['did export did:mesh:bafyrei… --format log --out log.json', 'what proves it'],
    ],
  })
    .argument('[did]', NAMED)
    .addOption(new Option('--format <format>', 'what to write').choices(FORMATS).default('document'))
    .option('--out <file>', 'file to write; without it standard output')
    .action(act(exportDid));
}

async function exportDid(
  invocation: Invocation,
  text: string | undefined,
  { format, out }: { readonly format: Format; readonly out?: string },
): Promise<void> {
  const mesh = await invocation.mesh();
  const did = await didOf(mesh, text);
  const exported = await exportedAs(format, mesh, did);
  const json = `${JSON.stringify(exported, null, 2)}\n`;
  if (out === undefined) return invocation.answer(exported, () => json); // it is JSON for people, too
  const file = resolve(invocation.world.cwd, out);
  await writeFile(file, json);
  invocation.answer(
    { did, format, file, bytes: Buffer.byteLength(json) },
    () => `wrote ${file}, ${formatBytes(Buffer.byteLength(json))}\n`,
  );
}

async function exportedAs(format: Format, mesh: Mesh, did: string): Promise<unknown> {
  if (format === 'log') return mesh.call('didLog', { params: { did } });
  const view = await mesh.call('didShow', { params: { did } });
  if (format === 'document') return view.document;
  const current = view.keys.filter(({ standing }) => standing === 'current');
  return { keys: current.map(({ key }) => publicJwk(parseMultikeyText(key), did)) };
}
