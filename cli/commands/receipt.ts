/** Receipts of calls with other organisations: what was signed, and a check of it that believes nobody. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ReceiptView } from '../../protocol/control/index.ts';
import { isErrorCode, isMeshError, limits, MeshError } from '../../protocol/index.ts';
import { type ReceiptReport, verifyReceipt } from '../../sdk/index.ts';
import { collect, integerBetween, parseDid, withoutEllipsis } from '../arguments.ts';
import { EXIT, exitOf } from '../exit.ts';
import { isFile, readBounded, writeWhole } from '../files.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findDid, isIdPrefix, localNames } from '../lookup.ts';
import { readPolicy } from '../log-verification.ts';
import type { Mesh } from '../mesh.ts';
import { nextOf, UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatBytes } from '../text/time.ts';
import { formatReceipt, formatReceipts, formatReceiptVerdict, type ReceiptVerdict } from '../views/receipts.ts';
import { rootsOfHome } from './verify-chain.ts';

const LIST_DEFAULT = 20;
const LIST_MAX = 100_000;

export function addReceipt(program: Command, act: Act): void {
  const receipt = withHelp(program.command('receipt'), {
    summary: 'Receipts of calls with other organisations',
    about:
      'Both sides sign what was ordered and how it ended, with commitments to request and result, and both log it. "receipt save" writes one ' +
      'file with all that convinces somebody else; "receipt verify" checks such a file in this process, offline.',
    examples: [
      ['receipt list', 'the newest'],
      ['receipt save bafyreiabcdef -o call.receipt', 'for an auditor'],
      ['receipt verify call.receipt --root did:mesh:bafyrei…', 'what does it prove?'],
    ],
  });
  addList(receipt, act);
  addShow(receipt, act);
  addSave(receipt, act);
  addVerify(receipt, act);
}

function addList(receipt: Command, act: Act): void {
  withHelp(receipt.command('list'), {
    summary: 'Calls to and from other organisations, newest first',
    about: 'A "(half)" behind the outcome: the other side did not sign, so it is the word of this side alone.',
    examples: [
      ['receipt list', `the last ${LIST_DEFAULT}`],
      ['receipt list --with did:mesh:bafyrei… --limit 100', 'calls with one agent or organisation'],
    ],
  })
    .option('--as <agent>', 'only those of this own agent or organisation: DID, or name of an agent')
    .option('--with <did>', 'only those with this agent or organisation', parseDid)
    .option('--limit <count>', `how many (default: ${LIST_DEFAULT})`, integerBetween(1, LIST_MAX))
    .action(
      act(async (invocation, options: { as?: string; with?: string; limit?: number }) => {
        const mesh = await invocation.mesh();
        const query = {
          limit: options.limit ?? LIST_DEFAULT,
          ...(options.as !== undefined && { as: await findDid(mesh, options.as) }),
          ...(options.with !== undefined && { did: options.with }),
        };
        const receipts: ReceiptView[] = [];
        const { signal } = invocation;
        for await (const each of mesh.client.receipts.list(query, { signal })) receipts.push(each);
        const names = await localNames(mesh);
        invocation.answer({ receipts }, (view) => formatReceipts(receipts, view, names));
      }),
    );
}

function addShow(receipt: Command, act: Act): void {
  withHelp(receipt.command('show'), {
    summary: 'One receipt that is kept here, or what a file says',
    about:
      'Of a file every check is shown that needs nothing but the file, also what fails; whether it proves anything is what "receipt verify" ' +
      'answers.',
    examples: [
      ['receipt show bafyreiabcdef', 'by the beginning of its id'],
      ['receipt show call.receipt', 'what is in a file'],
    ],
  })
    .argument('<id|file>', 'id of a receipt or of its order, at least 8 letters of the one of a receipt, or a file')
    .action(
      act(async (invocation, named: string) => {
        const file = resolve(invocation.world.cwd, named);
        if (isFile(file) || !isIdPrefix(named)) {
          const verdict = await checkFile(invocation, named, { root: await rootsOfHome(invocation) });
          invocation.answer({ file, ...verdict }, (view) => formatReceiptVerdict(verdict, view));
          return verdict.report === null ? EXIT.refused : EXIT.ok;
        }
        const mesh = await invocation.mesh();
        const answer = await mesh.call('receiptShow', { params: { id: await findReceipt(mesh, named) } });
        const names = await localNames(mesh);
        invocation.answer(answer, (view) => formatReceipt(answer.receipt, view, names));
        return EXIT.ok;
      }),
    );
}

function addSave(receipt: Command, act: Act): void {
  withHelp(receipt.command('save'), {
    summary: 'Write a receipt with all that convinces somebody else into one file',
    about:
      'The receipt, the order, chains and DID logs of both sides, and proofs from both logs: the other side is asked for its own, and where ' +
      'it does not answer the file has none of it. Salts are in the file: whoever has it can tell whether a request or result is the one.',
    examples: [['receipt save bafyreiabcdef -o call.receipt', 'to a file']],
  })
    .argument('<id>', 'id of the receipt or of its order, or at least 8 letters of the one of the receipt')
    .requiredOption('-o, --out <file>', 'file to write')
    .action(
      act(async (invocation, named: string, { out }: { out: string }) => {
        if (out === '') throw new UsageError('Cannot write a receipt to "": want the name of a file');
        const mesh = await invocation.mesh();
        const id = await findReceipt(mesh, named);
        const bytes = await mesh.client.receipts.file(id, { signal: invocation.signal });
        const file = resolve(invocation.world.cwd, out);
        await writeWhole(file, bytes);
        invocation.answer({ id, file, bytes: bytes.length }, () => `wrote ${file}, ${formatBytes(bytes.length)}\n`);
        invocation.suggest('check it, anywhere', 'receipt', 'verify', out);
      }),
    );
}

interface VerifyOptions {
  readonly root?: readonly string[];
  readonly request?: string;
  readonly result?: string;
  readonly witness?: readonly string[];
  readonly policy?: string;
}

function addVerify(receipt: Command, act: Act): void {
  withHelp(receipt.command('verify'), {
    summary: 'Check a receipt file, offline, and say what it proves against whom',
    about:
      'All in this process, from the bytes of the file: both signatures, whose keys they were when it was ordered (up to an organisation that you ' +
      'trust: --root, else those of the home), the chain, both logs, and with --witness or --policy who cosigned them. What was asked and ' +
      'answered is checked with --request and --result. What was not checked is said to be so. Exit code 3 if anything is wrong.',
    examples: [
      ['receipt verify call.receipt --root did:mesh:bafyrei…', 'does it stand?'],
      ['receipt verify call.receipt --request request.json --result result.json', 'and is it about these?'],
      ['receipt verify call.receipt --policy mine.policy', 'cosigned by witnesses you trust'],
    ],
  })
    .argument('<file>', 'file of "receipt save", "-" for standard input')
    .option('--root <did>', 'organisation that is trusted; may be repeated', collect(parseDid))
    .option('--request <file>', 'the JSON-RPC request, byte for byte')
    .option('--result <file>', 'the JSON-RPC response, byte for byte')
    .option('--witness <vkey>', 'verifier key of a witness that must have cosigned; may be repeated', collect(String))
    .option('--policy <file>', 'C2SP tlog-policy: its quorum must have cosigned')
    .action(
      act(async (invocation, named: string, options: VerifyOptions) => {
        if (options.policy !== undefined && options.witness !== undefined)
          throw new UsageError('Cannot use --policy and --witness at once', 'name the witnesses in the policy');
        const verdict = await checkFile(invocation, named, {
          ...options,
          root: options.root ?? (await rootsOfHome(invocation)),
        });
        invocation.answer({ file: named, ...verdict }, (view) => formatReceiptVerdict(verdict, view));
        const next = isErrorCode(verdict.code) ? nextOf(verdict.code, invocation.place) : null;
        if (next !== null && !invocation.json) invocation.note(`next  ${next}`);
        return verdict.ok ? EXIT.ok : EXIT.refused;
      }),
    );
}

/** Errors: those of reading files; what is wrong with the receipt is in the verdict. */
async function checkFile(
  { world }: Invocation,
  named: string,
  { root = [], request, result, witness, policy }: VerifyOptions,
): Promise<ReceiptVerdict> {
  const read = (file: string, bytesMax: number): Promise<Uint8Array> => readBounded(resolve(world.cwd, file), bytesMax);
  const bytes =
    named === '-'
      ? await world.readInput(limits.RECEIPT_FILE_BYTES_MAX)
      : await read(named, limits.RECEIPT_FILE_BYTES_MAX);
  const options = {
    roots: root,
    witnesses: witness,
    policy: policy === undefined ? undefined : (await readPolicy(resolve(world.cwd, policy))).policy,
    request: request === undefined ? undefined : await read(request, limits.MCP_MESSAGE_BYTES_MAX),
    result: result === undefined ? undefined : await read(result, limits.MCP_MESSAGE_BYTES_MAX),
  };
  try {
    return { ok: true, code: null, message: null, report: verifyReceipt(bytes, options) };
  } catch (error) {
    return verdictOf(error);
  }
}

/** Errors: whatever is no verdict on the file. */
function verdictOf(error: unknown): ReceiptVerdict {
  if (!isMeshError(error)) throw error;
  const report = (error.data['report'] as ReceiptReport | undefined) ?? null;
  if (report === null && exitOf(error.code) !== EXIT.refused) throw error;
  return { ok: false, code: error.code, message: error.message, report };
}

const SEARCHED_MAX = 10_000; // the newest receipts; older ones are named in full

/** Errors: not_found, usage (several begin so). */
async function findReceipt(mesh: Mesh, text: string): Promise<string> {
  const prefix = withoutEllipsis(text);
  if (prefix.length === 59) return prefix;
  const found = new Set<string>();
  for await (const { id } of mesh.client.receipts.list({ limit: SEARCHED_MAX }))
    if (id.startsWith(prefix)) found.add(id);
  const [only, ...others] = found;
  if (only === undefined)
    throw new MeshError('not_found', `Cannot find receipt "${text}": none that is kept here begins so`, {
      next: 'see "agentmesh receipt list"',
    });
  if (others.length > 0)
    throw new UsageError(
      `Cannot choose a receipt: ${found.size} begin with "${prefix}"`,
      'give more letters of its id',
    );
  return only;
}
