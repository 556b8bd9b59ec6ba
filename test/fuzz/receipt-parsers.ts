/** What is shown as a receipt: payloads that the other side offers, files, and what its log is said to hold. */
import { parseEvidence } from '../../daemon/core/calls/evidence.ts';
import { CHAIN_CODES, encodeJcs, limits, toBase64url } from '../../protocol/index.ts';
import {
  formatReceiptFile,
  parseReceiptPayload,
  verifyReceiptFile,
  verifyReceiptOffer,
} from '../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import {
  acme,
  calleeKey,
  fileOf,
  gamma,
  halfFileOf,
  handshakeOf,
  orderOf,
  receiptOf,
  RESULT,
  SALTS,
} from '../protocol/receipt/world.ts';
import type { FuzzedParser } from './parsers.ts';
import { CBOR, JSON_TEXT } from './structure.ts';

const order = orderOf();
const receipt = receiptOf(order);
const offer = {
  sig: receipt.signatures[1] ?? new Uint8Array(64),
  calleeKey: calleeKey.publicKey,
  body: RESULT,
  salt: SALTS.res,
};
const known = { isSignatureValid: isSignatureValidSodium, roots: new Set([acme.did, gamma.did]) };
const { entry, proof } = fileOf().proofs[0] ?? { entry: new Uint8Array(), proof: new Uint8Array() };

const PARSING = ['too_large', 'malformed', 'noncanonical', 'schema'] as const;

export const RECEIPT_PARSERS: readonly FuzzedParser[] = [
  {
    name: 'offer of a receipt',
    start: () => (bytes) => {
      parseReceiptPayload(bytes);
      verifyReceiptOffer(bytes, order, offer, isSignatureValidSodium);
    },
    corpus: [receipt.payloadBytes],
    codes: [...PARSING, 'conflict', 'bad_signature'],
    format: CBOR,
    bytesMax: limits.CALL_STATEMENT_BYTES_MAX,
  },
  {
    name: 'receipt file',
    start: () => (bytes) => verifyReceiptFile(bytes, known),
    corpus: [
      formatReceiptFile(fileOf({ handshake: handshakeOf() })),
      formatReceiptFile(halfFileOf('caller')),
      formatReceiptFile(halfFileOf('callee')),
    ],
    codes: [
      ...PARSING,
      ...CHAIN_CODES,
      'signers',
      'unknown_kind',
      'bad_proof',
      'conflict',
      'not_signed',
      'not_entitled',
      'no_channel_binding',
      'version',
    ],
    format: JSON_TEXT,
  },
  {
    name: 'evidence of a receipt',
    start: () => parseEvidence,
    corpus: [encodeJcs({ entry: toBase64url(entry), proof: toBase64url(proof) })],
    codes: ['malformed'],
    format: JSON_TEXT,
  },
];
