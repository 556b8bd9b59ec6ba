/** Receipts of calls between organisations, for whoever makes, keeps or checks one; SPEC "Receipts". */
export {
  formatReceiptFile,
  parseReceiptFile,
  type ReceiptFile,
  type ReceiptParty,
  type ReceiptProof,
} from './receipt-file.ts';
export {
  examineReceiptFile,
  RECEIPT_CHECKS,
  type ReceiptCheckLine,
  type ReceiptCheckName,
  type ReceiptReport,
  verifyReceiptFile,
  type VerifyReceiptOptions,
} from './verify-receipt.ts';
export {
  assembleReceipt,
  callerKeyOf,
  type CallRole,
  createHalfReceipt,
  createOrder,
  createTaking,
  halfRoleOf,
  type Happened,
  type OrderFields,
  type OrderStatement,
  parseReceiptPayload,
  receiptPayload,
  type ReceiptOffer,
  type ReceiptStatement,
  requestCommitment,
  signReceiptPayload,
  type TakingStatement,
  verifyOfOrder,
  verifyReceiptOffer,
  verifyTakingOf,
} from './receipt.ts';
export {
  isServerName,
  serverName,
  type CallOutcome,
  type Order,
  OUTCOMES,
  type Receipt,
  type Taking,
} from './schema.ts';
