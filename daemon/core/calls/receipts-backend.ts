/** The control API's answers about receipts of calls. */
import type { Caller, ControlBackend, ReceiptView } from '../../../protocol/control/index.ts';
import { limits, MeshError, toBase64url, toHex } from '../../../protocol/index.ts';
import type { KeptReceipt, Receipts } from './receipts.ts';

export type ReceiptsOperation = 'receiptList' | 'receiptShow' | 'receiptFile';

export function createReceiptsBackend(
  receipts: Pick<Receipts, 'list' | 'get' | 'fileOf'>,
): Pick<ControlBackend, ReceiptsOperation> {
  /** An agent sees its own. Errors: not_found, store_corrupt. */
  const receiptOf = async (id: string, caller: Caller): Promise<KeptReceipt> => {
    const kept = await receipts.get(id);
    if (caller.kind === 'agent' && kept.as !== caller.did)
      throw new MeshError('not_found', `Cannot find receipt "${id}": none is kept here`, { id });
    return kept;
  };
  return {
    receiptList: async ({ query: { as, did, before, limit } }) => {
      const count = limit === undefined ? limits.RECEIPTS_A_PAGE_DEFAULT : Number(limit);
      if (count < 1 || count > limits.RECEIPTS_A_PAGE_MAX)
        throw new MeshError(
          'bad_request',
          `Cannot accept "limit" in the query: want 1 to ${limits.RECEIPTS_A_PAGE_MAX}`,
          { field: 'limit', want: limits.RECEIPTS_A_PAGE_MAX },
        );
      const page = await receipts.list({
        as,
        did,
        limit: count,
        before: before === undefined ? undefined : Number(before),
      });
      return { receipts: page.receipts.map(viewOf), next: page.next };
    },
    receiptShow: async ({ params: { id } }, caller) => {
      const kept = await receiptOf(id, caller);
      return {
        receipt: viewOf(kept),
        statement: toBase64url(kept.receipt.envelope),
        order: toBase64url(kept.order.envelope),
        taking: kept.taking === undefined ? null : toBase64url(kept.taking.envelope),
      };
    },
    receiptFile: async ({ params: { id } }, caller, signal) => {
      const { receipt } = await receiptOf(id, caller);
      return { id: receipt.id, file: toBase64url(await receipts.fileOf(id, signal)) };
    },
  };
}

function viewOf({
  receipt,
  order,
  taking,
  role,
  server,
  tool,
  intent,
  entry,
  as,
  did,
  organisation,
}: KeptReceipt): ReceiptView {
  const { sid, n, out, start, end, half } = receipt.payload;
  return {
    id: receipt.id,
    order: order.id,
    role,
    half: half === true,
    taken: taking !== undefined,
    as,
    did,
    organisation,
    sid: toHex(sid),
    n,
    server,
    tool,
    outcome: out,
    startedAt: new Date(start).toISOString(),
    endedAt: new Date(end).toISOString(),
    intent,
    entry,
  };
}
