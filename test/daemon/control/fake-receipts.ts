/** The daemon's own answers about receipts, over one receipt of each kind. */
import { createReceiptsBackend } from '../../../daemon/core/calls/receipts-backend.ts';
import type { KeptReceipt, ReceiptQuery } from '../../../daemon/core/calls/receipts.ts';
import { MeshError } from '../../../protocol/index.ts';
import { formatReceiptFile, type ReceiptFile } from '../../../protocol/receipt/index.ts';
import { acme, fileOf, gamma, halfFileOf, orderOf } from '../../protocol/receipt/world.ts';

const ENTRY = '01980000-0000-7000-8000-00000000000';

const kept = (number: number, file: ReceiptFile, role: KeptReceipt['role']): KeptReceipt => {
  const { receipt, order, taking, salts } = file;
  const { iss, aud } = order.payload;
  return {
    number,
    receipt,
    order,
    taking,
    salts,
    role,
    server: order.payload.srv,
    tool: 'read_file',
    intent: `${ENTRY}1`,
    entry: `${ENTRY}2`,
    as: role === 'caller' ? iss : aud,
    did: role === 'caller' ? aud : iss,
    organisation: role === 'caller' ? acme.did : gamma.did,
  };
};

const whole = fileOf();
const half = halfFileOf('caller', { order: orderOf(undefined, { n: 4 }) });
const FILES: readonly (readonly [KeptReceipt, ReceiptFile])[] = [
  [kept(2, half, 'caller'), half],
  [kept(1, whole, 'callee'), whole],
];
/** Newest first. */
export const RECEIPTS: readonly KeptReceipt[] = FILES.map(([each]) => each);

const find = (id: string): readonly [KeptReceipt, ReceiptFile] => {
  const found = FILES.find(([{ receipt, order }]) => receipt.id === id || order.id === id);
  if (found === undefined) throw new MeshError('not_found', `Cannot find receipt "${id}": none is kept here`, { id });
  return found;
};

export const fakeReceipts = createReceiptsBackend({
  list: async ({ before = 3, limit = 50, as, did }: ReceiptQuery) => {
    const fitting = RECEIPTS.filter(
      (each) => each.number < before && (as ?? each.as) === each.as && (did ?? each.did) === each.did,
    );
    const receipts = fitting.slice(0, limit);
    return { receipts, next: receipts.length < fitting.length ? (receipts.at(-1)?.number ?? null) : null };
  },
  get: async (id) => find(id)[0],
  fileOf: async (id) => formatReceiptFile(find(id)[1]),
});
