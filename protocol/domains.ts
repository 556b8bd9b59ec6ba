/**
 * Signing contexts, hash prefixes, protocol ids and topic names: whatever must never collide, in one place.
 * A signature covers `AgentMesh/<kind>/v1` ‖ 0x00 ‖ message, so no signature made for one purpose means anything for another.
 */
const ascii = new TextEncoder();

export const SIGNING_CONTEXTS = {
  didop: 'AgentMesh/didop/v1',
  delegation: 'AgentMesh/delegation/v1',
  revocation: 'AgentMesh/revocation/v1',
  heartbeat: 'AgentMesh/heartbeat/v1',
  binding: 'AgentMesh/binding/v1',
  iatp: 'AgentMesh/iatp/v1',
  login: 'AgentMesh/login/v1',
  entry: 'AgentMesh/entry/v1',
  approval: 'AgentMesh/approval/v1',
  link: 'AgentMesh/link/v1',
  call: 'AgentMesh/call/v1',
  taken: 'AgentMesh/taken/v1',
  receipt: 'AgentMesh/receipt/v1',
  message: 'AgentMesh/message/v1',
} as const;
export type SigningContext = keyof typeof SIGNING_CONTEXTS;

const prefixes = new Map<string, Uint8Array>(
  Object.entries(SIGNING_CONTEXTS).map(([kind, text]) => [kind, ascii.encode(`${text}\0`)]),
);

/** The bytes that are signed: context ‖ 0x00 ‖ message. */
export function signedBytes(context: SigningContext, message: Uint8Array): Uint8Array {
  const prefix = prefixes.get(context) as Uint8Array;
  const out = new Uint8Array(prefix.length + message.length);
  out.set(prefix, 0);
  out.set(message, prefix.length);
  return out;
}

/** Prefix of the hash over the three Noise frames that binds a handshake to its connection (SPEC "Channel binding"). */
export const CHANNEL_BINDING_PREFIX: Uint8Array = ascii.encode('AgentMesh/cb/v1\0');

/** What AES-256-GCM authenticates beside a sealed private key, and for the check of a key ring's passphrase. */
export const SEALED_KEY_PREFIX: Uint8Array = ascii.encode('AgentMesh/sealed-key/v1\0');
export const KEY_RING_PREFIX: Uint8Array = ascii.encode('AgentMesh/key-ring/v1\0');

/** Of the hash over a policy with all that it extends (SPEC "Policies"). */
export const POLICY_DIGEST_PREFIX: Uint8Array = ascii.encode('AgentMesh/policy-digest/v1\0');

export const DEFAULT_NETWORK = 'agentmesh';

/** A network's name is part of protocol ids and topics, so that networks never mix by accident. */
export const isNetworkName = (name: string): boolean => /^[a-z0-9][a-z0-9-]{0,31}$/.test(name);

export type ProtocolName = 'sync' | 'iatp' | 'kad' | 'call' | 'tlog/witness' | 'tlog/read';
export const protocolId = (network: string, name: ProtocolName): string => `/agentmesh/${network}/${name}/1.0.0`;

/** Gossip topics: `rev` revocations and proofs, `id` DID operations, `link` delegations, `cp` checkpoints and bindings. */
export const TOPICS = ['rev', 'id', 'link', 'cp'] as const;
export type Topic = (typeof TOPICS)[number];
export const topicName = (network: string, topic: Topic): string => `/agentmesh/${network}/${topic}/1`;

/**
 * Of the transparency log (SPEC "Transparency log formats"). Its notes are signed as C2SP says and carry no context of
 * ours, so a log's or witness's key signs nothing else.
 */
export const LEAF_HASH_PREFIX = 0x00; // RFC 6962 section 2.1
export const NODE_HASH_PREFIX = 0x01;
export const COSIGNATURE_CONTEXT = 'cosignature/v1';
export const PROOF_FILE_CONTEXT = 'c2sp.org/tlog-proof@v1';
