/** Every bound of the protocol, with its reason. Units are in the names. */

// Time
export const SKEW_SECONDS = 60; // clocks of honest, NTP-less machines differ by seconds; a minute is one epoch
export const EPOCH_SECONDS = 60; // granularity of the reconciliation order
export const SECONDS_MAX = 253_402_300_799; // 9999-12-31T23:59:59Z, the last second that RFC 3339 can write

// Statements
export const SIGNERS_MAX = 16; // 2 ids + 8 PeerIds is the most that any kind names; room for m-of-n recovery
export const CBOR_DEPTH_MAX = 16; // the deepest schema nests 6 levels
export const DIDOP_BYTES_MAX = 8 * 1024; // 8 keys, 8 PeerIds, 8 services and 16 signatures fit four times
export const DELEGATION_BYTES_MAX = 8 * 1024; // 32 capabilities with resources
export const REVOCATION_BYTES_MAX = 1024; // 361 bytes measured, plus a reason of 140 characters
export const HEARTBEAT_BYTES_MAX = 1024; // 274 bytes measured
export const STATEMENT_BYTES_MAX = 64 * 1024; // the largest kind known

// DIDs
export const DID_KEYS_MAX = 8; // one per use and its successor, with room
export const DID_PEERS_MAX = 8; // one daemon writes for an organisation; room for its move
export const DID_SERVICES_MAX = 8;
export const DID_COMMITMENTS_MAX = 8; // next or recovery keys committed to; 2-of-3 is the default
export const DID_SEQ_MAX = 255; // a rotation a day for eight months, or weekly for five years
export const DID_OPS_A_SEQ_MAX = 4; // siblings kept per operation kind and sequence number; two already show a fork
export const DIDS_PER_ORGANISATION_MAX = 1024; // agents and persons of one organisation
export const KEPT_IDS_MAX = 64; // links that a dead key may keep; more are re-issued
export const GRACE_SECONDS_MAX = 86_400; // a retired key's links may live on for a day
export const SERVICE_TEXT_MAX = 256; // a multiaddr or URL

// Delegation
export const CAPABILITIES_MAX = 32; // entries a link
export const RESOURCES_MAX = 32; // resources an entry
export const RESOURCE_TEXT_MAX = 256;
export const DOMAIN_TEXT_MAX = 32; // letters of a capability's domain
export const SEGMENT_TEXT_MAX = 128; // letters of a capability's path segment
export const CAPABILITY_TEXT_MAX = 512; // domain, colon and path
export const CHAIN_LINKS_MAX = 8; // a verifier's budget: longer chains cost more than they prove
export const CHAIN_BYTES_MAX = 64 * 1024; // 8 links of 8 KiB
export const DEPTH_MAX = 7; // further hops: 8 links less the root
export const DEPTH_DEFAULT = 4; // of a root that names none
export const LINK_SECONDS_MAX = 30 * 86_400; // authority is re-issued at least monthly
export const CREDENTIAL_SECONDS_MAX = 900; // a link bound to an ephemeral key lives 15 minutes at most
export const RATES_MAX = 32; // one per capability
export const RATE_N_MAX = 1_000_000_000; // keeps cross-multiplied rates below 2^53
export const RATE_SECONDS_MAX = 86_400 * 30; // the longest life of a link
export const AT_MAX = 32; // DIDs where a link may be used
export const PURPOSES_MAX = 16;
export const PURPOSE_TEXT_MAX = 64;
export const SCORE_MAX = 1000;
export const STALENESS_SECONDS_MAX = 300; // the laxest class (read); a link may only tighten
export const LINKS_PER_ORGANISATION_MAX = 4096; // published links; private ones are outside the set
export const NONCE_BYTES = 16;
export const BUNDLE_BYTES_MAX = 4 * 1024 * 1024; // a year of revocations of eight organisations

// Revocation and freshness
export const REASON_TEXT_MAX = 140; // characters; no personal data
export const REVOCATION_SEQ_MAX = 65_535; // 361 B each: 24 MiB for one organisation, read whole by a newcomer
export const REVOCATIONS_A_SEQ_MAX = 4; // a fifth freezes the organisation
export const STALENESS_READ_SECONDS = 300;
export const STALENESS_WRITE_SECONDS = 60;

// Reconciliation
export const SYNC_FRAME_BYTES_MAX = 256 * 1024; // four of the largest statements, or 240 KiB of ranges
export const RANGE_MESSAGE_BYTES_MAX = 240 * 1024; // leaves room for the frame around it
export const RANGE_BUCKETS = 16; // negentropy v1
export const RANGE_IDS_MAX = 32; // fewer ids than this are listed instead of split
export const RANGE_MESSAGE_BYTES_MIN = 4 * 1024; // four times the largest answer to one range: every message gets on
export const RANGE_ITEMS_MAX = 2 ** 21; // limb sums of this many 32-bit words stay below 2^53; twice what a store keeps
export const RANGE_ROUNDS_MAX = 24; // more than log16(10^6) rounds; the rest is left to the next time
export const GET_IDS_MAX = 512;
export const BEATS_MAX = 64;

// Handshake
export const IATP_FRAME_BYTES_MAX = 64 * 1024; // a chain of 8 links with its statements
export const HANDSHAKE_STEP_MS = 5_000;
export const HANDSHAKE_TOTAL_MS = 10_000;
export const HANDSHAKES_PENDING_MAX = 64; // at ~2 ms each a full queue is worked off in a fraction of a step
export const SESSION_SECONDS_MAX = 900; // as long as the credentials inside

// Storage
export const STORE_STATEMENTS_MAX = 1_000_000; // memory for ids and derived state: about 1 GiB
export const STORE_BYTES_MAX = 1024 ** 3;
export const EXPIRED_KEEP_SECONDS = 3_600; // expired statements stay readable for an hour, outside fingerprints

// Trust
export const NETWORK_SCORE_NEUTRAL = 300; // what an organisation without evidence has: a newcomer must not gain by starting anew
