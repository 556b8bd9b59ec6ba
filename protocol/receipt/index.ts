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
  type ReceiptCheckLine,
  type ReceiptCheckName,
  type ReceiptReport,
  verifyReceiptFile,
  type VerifyReceiptOptions,
} from './verify-receipt.ts';
export {
  assembleReceipt,
  type CallRole,
  createHalfReceipt,
  createOrder,
  createTaking,
  halfRoleOf,
  type OrderFields,
  type OrderStatement,
  parseReceiptPayload,
  receiptPayload,
  type ReceiptStatement,
  requestCommitment,
  signReceiptPayload,
  type TakingStatement,
  verifyReceiptOffer,
  verifyTakingOf,
} from './receipt.ts';
export {
  isServerName,
  type CallOutcome,
  OUTCOMES,
  type Receipt,
} from './schema.ts';
