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
export const BINDING_BYTES_MAX = 1024; // 736 bytes measured with both names at their longest
export const CHECKPOINT_BYTES_MAX = 2 * 1024; // a note of CHECKPOINT_NOTE_BYTES_MAX with room
export const PROOF_BYTES_MAX = 64 * 1024; // two notes, 64 hashes and a binding take 6 KiB; as much as any statement
export const STATEMENT_BYTES_MAX = 64 * 1024; // the largest kind known

// DIDs
export const DID_KEYS_MAX = 8; // one per use and its successor, with room
export const DID_PEERS_MAX = 8; // one daemon writes for an organisation; room for its move
export const DID_SERVICES_MAX = 8; // one per address family and transport, with room
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
export const RESOURCE_TEXT_MAX = 256; // as a service: a URL or path that people still read
export const DOMAIN_TEXT_MAX = 32; // letters of a capability's domain
export const SEGMENT_TEXT_MAX = 128; // letters of a capability's path segment
export const CAPABILITY_TEXT_MAX = 512; // domain, colon and path
export const CHAIN_LINKS_MAX = 8; // a verifier's budget: longer chains cost more than they prove
export const CHAIN_BYTES_MAX = 64 * 1024; // 8 links of 8 KiB
export const CHAIN_COMPARISONS_MAX = 100_000; // of capabilities and resources: under 10 ms; 8 links of 32 capabilities need a third
export const CHAIN_CACHE_MAX = 4_096; // chains whose links are remembered as verified; about 4 KiB each
export const DEPTH_MAX = 7; // further hops: 8 links less the root
export const DEPTH_DEFAULT = 4; // of a root that names none
export const LINK_SECONDS_MAX = 30 * 86_400; // authority is re-issued at least monthly
export const CREDENTIAL_SECONDS_MAX = 900; // a link bound to an ephemeral key lives 15 minutes at most
export const RATES_MAX = 32; // one per capability
export const RATE_N_MAX = 1_000_000_000; // keeps cross-multiplied rates below 2^53
export const RATE_SECONDS_MAX = 86_400 * 30; // the longest life of a link
export const AT_MAX = 32; // DIDs where a link may be used
export const PURPOSES_MAX = 16; // more than anyone tells apart
export const PURPOSE_TEXT_MAX = 64; // a word or two, joined
export const SCORE_MAX = 1000; // the scale of all trust scores
export const STALENESS_SECONDS_MAX = 300; // the laxest class (read); a link may only tighten
export const LINKS_PER_ORGANISATION_MAX = 4096; // published links; private ones are outside the set
export const NONCE_BYTES = 16; // no two alike among 2^64
export const BUNDLE_BYTES_MAX = 4 * 1024 * 1024; // a year of revocations of eight organisations

// Revocation and freshness
export const REASON_TEXT_MAX = 140; // characters; no personal data
export const REVOCATION_SEQ_MAX = 65_535; // 361 B each: 24 MiB for one organisation, read whole by a newcomer
export const REVOCATIONS_A_SEQ_MAX = 4; // a fifth freezes the organisation
export const STALENESS_READ_SECONDS = 300; // of the class `read`: STALENESS_SECONDS_MAX
export const STALENESS_WRITE_SECONDS = 60; // of all others: one heartbeat

// Reconciliation
export const SYNC_FRAME_BYTES_MAX = 256 * 1024; // four of the largest statements, or 240 KiB of ranges
export const RANGE_MESSAGE_BYTES_MAX = 240 * 1024; // leaves room for the frame around it
export const RANGE_BUCKETS = 16; // negentropy v1
export const RANGE_IDS_MAX = 32; // fewer ids than this are listed instead of split
export const RANGE_MESSAGE_BYTES_MIN = 4 * 1024; // over three times the largest answer to one range: every message gets on
export const RANGE_ITEMS_MAX = 2 ** 21; // limb sums of this many 32-bit words stay below 2^53; twice what a store keeps
export const RANGE_ROUNDS_MAX = 24; // more than log16(10^6) rounds; the rest is left to the next time
export const GET_IDS_MAX = 512; // 18 KiB of ids; their statements fill an answer
export const BEATS_MAX = 64; // of 274 bytes each; a daemon relies on fewer organisations at a time

// Handshake
export const IATP_FRAME_BYTES_MAX = 64 * 1024; // a chain of 8 links with its statements
export const HANDSHAKE_STEP_MS = 5_000; // a look-up over a slow link
export const HANDSHAKE_TOTAL_MS = 10_000; // two slow steps; a pending handshake holds memory on both sides
export const HANDSHAKES_PENDING_MAX = 64; // at ~2 ms each a full queue is worked off in a fraction of a step
export const HANDSHAKE_NONCE_BYTES = 32; // never drawn twice, and the handshake needs no memory of those seen
export const HANDSHAKES_PER_SECOND = 20; // of one PeerId: its organisation's agents, each once, and a burst at start
export const HANDSHAKES_BURST = 64; // as many as may be pending
export const HANDSHAKES_PREFIX_FACTOR = 8; // of one network prefix: a few daemons behind one address, not a rack of PeerIds
export const HANDSHAKE_SCORE_DEFAULT = 300; // least trust asked of the other side: no evidence for or against it
export const PRESENTED_STATEMENTS_MAX = 64; // two chains with the logs and heartbeats behind them; more is pulled
export const SESSION_ID_BYTES = 16; // no two alike among 2^64
export const SESSION_SECONDS_MAX = 900; // as long as the credentials inside
export const SESSION_RATES_MAX = 256; // 32 of each of 8 links
export const SESSIONS_MAX = 4_096; // 35 KiB each with its stream, messages and judgement, measured: 140 MiB
export const SESSIONS_A_CONNECTION_MAX = 32; // the streams of one protocol that a connection carries each way

// Receipts of calls between organisations
export const CALL_STATEMENT_BYTES_MAX = 2 * 1024; // an order, taking or receipt: under 700 bytes measured, with the longest names
export const CALL_SALT_BYTES = 16; // of a commitment to a request or result: nobody tries 2^128
export const CALL_KEY_BYTES_MIN = 16; // of an idempotency key: no two alike among 2^64 random ones
export const CALL_KEY_BYTES_MAX = 64; // a UUID as text, or a hash as hex
export const RECEIPTS_KEPT_MAX = 100_000; // in files of their own, about 2 KiB each; the log keeps what was signed for good
export const RECEIPTS_A_PAGE_DEFAULT = 50; // of a list
export const RECEIPTS_A_PAGE_MAX = 500; // a few hundred KiB of JSON
export const RECEIPT_FILE_BYTES_MAX = 8 * 1024 * 1024; // a bundle in base64url with two proofs and a handshake
export const RECEIPT_PROOFS_MAX = 2; // the caller's log and the callee's
export const RECEIPT_STATEMENTS_MAX = 16_384; // as many small ones as a bundle may hold

// Transparency log
export const NOTE_BYTES_MAX = 64 * 1024; // 16 lines of ML-DSA-44 (3.3 KiB each), which every reader must take, with room
export const NOTE_SIGNATURES_MAX = 100; // C2SP asks for 16 at least; Go's sumdb/note reads no more than these
export const CHECKPOINT_NOTE_BYTES_MAX = 1024; // origin and key name of 255 bytes each; numbers, root and one line take 180
export const LOG_NAME_BYTES_MAX = 255; // origins and key names: C2SP subtree/v1 writes their length in one byte
export const MERKLE_PROOF_HASHES_MAX = 63; // C2SP tlog-witness: enough for 2^63 leaves
export const LOG_ENTRY_BYTES_MAX = 65_535; // an entry bundle writes lengths in two bytes
export const LOG_BUNDLE_BYTES_MAX = 256 * (2 + 65_535); // as many of the largest entries as a full bundle holds
export const LOG_GENERATION_MAX = 4_294_967_295; // rows are kept under it in four bytes
export const LOG_BATCH_ENTRIES_MAX = 256; // one full tile; measured, larger batches gain a tenth and wait longer
export const LOG_GATHER_MS = 20; // what nobody waits for, as how a call ended, goes with the next entry that somebody waits for: one sync a call instead of two
export const LOG_QUEUE_ENTRIES_MAX = 4_096; // sixteen batches: what a slow disk takes in a second
export const LOG_QUEUE_BYTES_MAX = 16 * 1024 * 1024; // the queue above filled with entries of 4 KiB
export const LOG_TILES_CACHED_MAX = 512; // 8 KiB each: a proof reads one tile a level, so the newest 130,000 leaves stay warm
export const LOG_ANCHOR_SLOT_BYTES = 1_024; // a checkpoint with the log's own line alone takes about 350
export const BINDINGS_PER_ORGANISATION_MAX = 16; // one more with each log, witness key or node; a lifetime of moves
export const ORIGINS_PER_ORGANISATION_MAX = 4; // logs whose checkpoint is kept: the one in use, and those before it
export const TREE_SIZE_BYTES_MAX = 17; // the 16 digits of 2^53 - 1 and the line's end
export const TILE_LEVEL_MAX = 6; // 256^6 < 2^53 < 256^7: the highest level of a tree whose size is a safe integer
export const PROOF_FILE_BYTES_MAX = 128 * 1024; // the largest note, 63 hashes, and as much again for extra data
export const POLICY_BYTES_MAX = 128 * 1024; // 256 logs, witnesses and groups of about 150 bytes a line
export const POLICY_LINES_OF_A_KIND_MAX = 256; // of logs, witnesses and groups each; C2SP asks for 32 at least
export const ADD_CHECKPOINT_BYTES_MAX = 64 * 1024; // 63 hashes take 3 KiB, a note of 16 Ed25519 lines as much
export const WITNESSES_MAX = 7; // chosen for a log when nobody says which: two may be bad, five agree
export const WITNESS_KEYS_AN_OPERATOR_MAX = 3; // one now, one before a move; 64 operators named by hand fit a policy
export const COSIGNING_WAITERS_MAX = 4_096; // as many as entries may queue: each is an append that waits
export const COSIGNING_RELEASE_MS = 1_000; // while a log grows and nobody waits: each release costs every witness a write
export const COSIGNING_REFRESH_MS = 600_000; // how old the newest cosignature of an idle log may be
export const COSIGNING_CONFIRM_MS = 60_000; // for a witness from before to come back, after a restart of everybody
export const WITNESS_URL_TEXT_MAX = 512; // a host name (253) with a path
export const CHECKPOINT_GOSSIP_MS_MIN = 1_000; // between two of one log: as often as it releases when nobody waits
export const CHECKPOINT_GOSSIP_MS_AN_ORGANISATION = 36; // 28 a second over the network, however large it is
export const WITNESS_NOTE_SIGNATURES_MAX = 16; // C2SP's least; each line by a known key costs a verification
export const WITNESS_ORIGINS_MAX = 65_536; // rows of about 600 bytes, never forgotten: 40 MB
export const WITNESS_PER_SECOND = 100; // of one submitter: a log that waits for its cosignatures asks again at once
export const WITNESS_BURST = 200; // two seconds of those, after a pause of the network
export const WITNESS_ALL_PER_SECOND = 1_000; // a verification, a signature and a hash chain each: a quarter of a core
export const TLOG_LINE_BYTES_MAX = 512; // the longest path: a hash, a word and two sizes take 120
export const TLOG_STREAMS_A_CONNECTION_MAX = 4; // one of each side and connection, with room for one that is being ended
export const TLOG_IDLE_MS = 120_000; // a log that grows asks every second, an idle one every ten minutes by a new stream
export const TLOG_ANSWER_MS = 5_000; // two synced writes on a slow disk, over a slow link
export const LOG_ENTRY_OWN_BYTES_MAX = 60 * 1024; // below what a bundle can hold: room for what a later version adds
export const JCS_DEPTH_MAX = 16; // as CBOR_DEPTH_MAX; entries nest 4 levels, the rest is for the facts of foreign types
export const LOG_TYPE_TEXT_MAX = 128; // a reverse domain name with a verb and a version
export const LOG_TEXT_MAX = 256; // an operation, a tool, a rule: names, as people read them in a list
export const LOG_MESSAGE_TEXT_MAX = 1_024; // the sentence beside an error code, with a few quoted values
export const LOG_NOTE_TEXT_MAX = 16 * 1024; // a checkpoint with 100 cosignatures of about 150 bytes
export const LOG_NOTES_WAITING_MAX = 1_024; // observations not on disk yet; 2 MiB, and a quarter of the log's own queue
export const LOG_NOTES_PER_SECOND = 10; // observations of one type that others can cause: 860,000 entries a day at worst
export const LOG_NOTES_BURST = 100; // what a peer that comes or goes sets off at once
export const LOG_CREDENTIALS_AN_AGENT_MAX = 64; // remembered by who checks a log: eight hours, when each is renewed at half-life
export const LOG_SALT_BYTES = 32; // of a commitment: as long as the hash, so that short inputs cannot be guessed

// Reading logs, monitoring and convictions
export const CONVICTION_PAIRS_LIFTED_MAX = 256; // pairs of notes that a human forgave one organisation; the oldest would convict again
export const TLOG_READ_FRAME_BYTES_MAX = 256 * 1024; // as of sync
export const TLOG_READ_PART_BYTES = 240 * 1024; // of an entry bundle in one answer: a full one of 900 byte entries
export const TLOG_READS_PER_SECOND = 200; // of one peer; 50,000 entries a second for one who may read them
export const TLOG_READS_BURST = 1_000; // a proof from cold tiles asks for a dozen
export const TLOG_RELAYS_PER_SECOND = 5; // questions passed on for one peer: each costs another one as much
export const TLOG_RELAY_MS = 3_000; // that the log asked has: the asker, who waits TLOG_ANSWER_MS, shall hear how it ended
export const TLOG_RELAYS_BURST = 32; // the pairs that one fork shows at once
export const MONITOR_ORIGINS_MAX = 1_024; // logs whose checkpoints are remembered, at 30 KB each
export const MONITOR_NEWEST_MAX = 64; // checkpoints of the largest sizes that are kept of one log, beside one for each power of two
export const MONITOR_UNPROVEN_MAX = 8; // checkpoints of one log that wait for an answer; newest first, the others are met again
export const MONITOR_SENDERS_MAX = 4; // peers remembered as having shown a checkpoint, to ask when the log is silent
export const MONITOR_STAGGER_MS = 500; // before the next one is asked beside a silent one: a proof is everywhere within 2 s
export const MONITOR_WITHHELD_MS = 600_000; // that a refusal to show consistency is held against a log
export const MIRROR_PORTION_ENTRIES = 4_096; // of a copy that are verified and written together: 16 bundles, a few MB
export const MONITOR_ASKED_PEERS_MAX = 8; // peers asked for cosigned copies once a fork is proven

// Storage
export const STORE_STATEMENTS_MAX = 1_000_000; // with ids, indices and derived state 1.7 KB of memory each, as measured: 1.7 GB
export const STORE_BYTES_MAX = 1024 ** 3; // a thousand bytes a statement
export const EXPIRED_KEEP_SECONDS = 3_600; // expired statements stay readable for an hour, outside fingerprints

// Trust
export const NETWORK_SCORE_NEUTRAL = 300; // what an organisation without evidence has: a newcomer must not gain by starting anew

// Home, keys and configuration
export const SOCKET_PATH_BYTES_MAX = 103; // sockaddr_un holds 104 bytes on macOS and BSD (108 on Linux), one for the final zero
export const DAEMON_INFO_BYTES_MAX = 4096; // pid, version, time and a path
export const CONFIG_BYTES_MAX = 64 * 1024; // every key with its comment takes about 4 KiB
export const CLIENT_CONFIG_BYTES_MAX = 32 * 1024 * 1024; // ~/.claude.json holds histories beside its servers: some MiB after a year
export const CONFIG_LIST_MAX = 64; // addresses or DIDs in one list; more are learnt from peers
export const KEY_NAME_TEXT_MAX = 200; // a DID (68), an id (59) and words; 255 bytes are left for the file's name
export const KEY_FILE_BYTES_MAX = 4096; // about 500 bytes, with room for a long name
export const PASSPHRASE_BYTES_MAX = 1024; // a line of text, not a file given by mistake
export const SCRYPT_COST = 2 ** 17; // N; with r = 8 and p = 1 128 MiB and most of a second, as OWASP advises for scrypt
export const SCRYPT_COST_MIN = 2 ** 3; // below it scrypt's own bookkeeping is larger than its table; far too weak all the same
export const SCRYPT_COST_MAX = 2 ** 20; // 1 GiB: what a key file may ask of the machine that opens it
export const SPONSOR_AGENTS_DEFAULT = 10; // agents one person answers for
export const SPONSOR_AGENTS_MAX = 1000; // fewer than the DIDs that every daemon keeps of one organisation
export const HEARTBEAT_SECONDS_DEFAULT = 60; // the staleness that a write tolerates
export const SYNC_SECONDS_DEFAULT = 5; // a newcomer's wait for what it missed
export const SYNC_SECONDS_MAX = 300; // no later than the laxest staleness
export const DEGREE_DEFAULT = 8; // gossip keeps 8 in its mesh (6 to 10)
export const DEGREE_MAX = 64; // 100,000 daemons are four hops away with 18
export const NAME_TEXT_MAX = 64; // a name shown to people

// Store
export const STORE_GROUP_BYTES_MAX = 1024 * 1024; // written with one sync; LevelDB's own groups are as large

// Network
export const CONNECTIONS_MAX = 300; // a mesh needs about 20; at 1.3 MB each this is 400 MB
export const CONNECTIONS_UNBOUND_MAX = 64; // strangers in their grace; more would crowd out the known
export const UNBOUND_GRACE_MS = 10_000; // time for one `hello` over a slow link
export const STREAMS_A_CONNECTION_MAX = 128; // two a protocol and direction are in use; a look-up adds ten
export const NETWORK_STREAMS_A_PROTOCOL_MAX = 32; // concurrent outbound streams of a protocol on one connection
export const GOSSIP_MESSAGE_BYTES_MAX = 128 * 1024; // twice the largest statement
export const GOSSIP_RPC_BYTES_MAX = 256 * 1024; // one message with control data, or 5,000 ids of 20 bytes
export const GOSSIP_REJECTS_MAX = 3; // at weight -10, squared, the third is below the graylist's -80
export const DENIED_MS = 300_000; // a peer that sent rejects stays away for five minutes
export const DENIED_PEERS_MAX = 4096; // remembered offenders; oldest out
export const KNOWN_PEERS_MAX = 1024; // remembered across restarts; at 300 bytes 300 KB
export const PEER_ADDRESSES_MAX = 8; // newest first; what has not worked falls off the end
export const MULTIADDR_TEXT_MAX = 512; // a DNS name (253) with ports, PeerId and transport
export const DIALS_PARALLEL_MAX = 8; // the peer-maintenance loop's; a dial costs about 15 ms CPU
export const DIAL_MS_MAX = 5_000; // ten round trips of 500 ms
export const SEND_MS_MAX = 10_000; // a peer that takes no bytes for so long is gone
export const DHT_VISITS_MAX = 8; // connections that only the DHT wants, at a time
export const DHT_VISIT_IDLE_MS = 5_000; // a look-up's next question comes within round trips
export const DHT_PROVIDERS_A_PEER_MAX = 1024; // one record for each DID of an organisation
export const DHT_PROVIDERS_MAX = 65_536; // rows of about 100 bytes kept for others

// Policies
export const APPROVERS_MAX = 16; // that one rule names; groups stand for more
export const APPROVAL_QUORUM_MAX = 8; // people who must agree on one call; two is usual
export const POLICY_NAME_TEXT_MAX = 128; // a file name, as people read it in a list
export const POLICY_RULE_NAME_TEXT_MAX = 128; // it is in every entry of the log that it decides
export const POLICY_RULES_MAX = 4_096; // of a policy with all that it extends; a thousand is a large one
export const POLICY_EXTENDS_DEPTH_MAX = 8; // one above the other
export const POLICY_LAYERS_MAX = 16; // policies that are asked for one request: the daemon's and its caller's
export const POLICY_DESCRIPTION_TEXT_MAX = 2_048; // a paragraph
export const POLICY_AGENTS_MAX = 64; // named in one document; a policy for more is one for all
export const POLICY_PRIORITY_MAX = 1_000_000; // either side of 0: room between any two
export const POLICY_ALIASES_MAX = 256; // uses of YAML anchors: lists of approvers that rules share
export const POLICY_REFERENCE_TEXT_MAX = 512; // a path in `extends` or of an external point's file
export const POLICY_EXTERNAL_MAX = 4; // decision points that one document asks; each is waited for
export const POLICY_EXTERNAL_FILE_BYTES_MAX = 1024 * 1024; // policies or entities for one of them
export const POLICY_EXTERNAL_MS_DEFAULT = 1_000; // what OPA wants to stay under on a busy host, a hundred times over
export const POLICY_EXTERNAL_MS_MAX = 10_000; // beyond it a person believes that the tool hangs
export const LIMIT_COUNT_MAX = 1_000_000_000; // as RATE_N_MAX
export const LIMIT_SLICES = 64; // of a window: uses free with a delay of at most a sixty-fourth of it
export const POLICY_ANSWER_BYTES_MAX = 64 * 1024; // of a decision point: an effect and a sentence
export const APPROVAL_MS_DEFAULT = 900_000; // somebody at work sees it; a request that waits longer is stale
export const APPROVAL_MS_MIN = 1_000; // shorter, nobody can have read it
export const APPROVAL_MS_MAX = 7 * 86_400_000; // over a weekend and a holiday
export const APPROVAL_REASON_TEXT_MAX = 1_024; // as LOG_MESSAGE_TEXT_MAX
export const OUTPUT_BYTES_DEFAULT = 10 * 1024 * 1024; // of one result as JSON: a photo in base64
export const OUTPUT_BYTES_MAX = 64 * 1024 * 1024; // held in memory while detectors look at it
export const POLICY_CASES_MAX = 1_024; // in one file of policy tests
export const POLICY_LINT_PAIRS_MAX = 1_000_000; // of rules that are held against one another: seconds, for the largest policy

// Decisions (control API)
export const DECISION_BODY_BYTES_MAX = 4 * 1024 * 1024; // a file that an agent writes; larger calls are refused, not passed unchecked
export const DECISION_JSON_DEPTH_MAX = 64; // arguments of tools: schemas and syntax trees nest deeper than requests of ours
export const GATE_CONNECTIONS_MAX = 16; // of one proxy to its daemon, which has 256 for all
export const OUTCOMES_MAX = 256; // told at once: of a few milliseconds
export const DECISIONS_OPEN_MAX = 4_096; // allowed, and not yet told how they ended; older ones stay without an end
export const APPROVAL_SIGN_OF_LIFE_MS = 5_000; // between two to a client that waits; MCP clients give up after 60 s of silence
export const APPROVAL_ID_BYTES = 8; // people type them; a daemon keeps thousands
export const ACTION_TEXT_MAX = 64; // a word or two, joined
export const MCP_NAME_TEXT_MAX = 256; // clients show tools in lists; MCP advises 128
export const MCP_TOOLS_MAX = 1_024; // of one server; the largest known have about 200
export const SHADOWS_MAX = 8; // tools of other servers named beside one; who has more has seen enough
export const URI_TEXT_MAX = 8_192; // what web servers take
export const PATHS_MAX = 1_024; // forms of paths in one request; more are refused, not left out
export const PATH_TEXT_MAX = 4_096; // Linux PATH_MAX
export const LABEL_TEXT_MAX = 64; // as "secret.github_token"
export const LABELS_MAX = 64; // there are fewer
export const POLICY_BROUGHT_MAX = 4; // policies that one request may bring besides the configured ones
export const POLICY_FILES_MAX = 16; // a policy and what it extends
export const POLICY_TEXT_BYTES_MAX = 256 * 1024; // a thousand rules take 200 KB
export const REQUEST_DAYS_DEFAULT = 7; // a week's traffic shows what a new policy would do
export const REQUEST_DAYS_MAX = 90; // arguments may hold personal data: no longer than an audit's quarter
export const REPLAY_SECONDS_MAX = 90 * 86_400; // as long as requests are kept at most
export const REPLAY_DIVERGENCES_MAX = 256; // shown of one comparison; all are counted

// Approvals, limits, requests and tools (daemon)
export const APPROVALS_PENDING_MAX = 256; // more than any number of people would read
export const APPROVALS_PENDING_AN_AGENT_MAX = 16; // an agent that waits for more has not been told to wait
export const APPROVALS_KEPT_MAX = 512; // that ended; about 70 KiB each at most, as a rule one
export const APPROVALS_KEPT_MS = 7 * 86_400_000; // after their time, to be looked up; the log keeps what was decided
export const APPROVAL_REQUEST_BYTES_MAX = 64 * 1024; // of what an approver is shown: more than anyone reads
export const LIMIT_COUNTERS_CACHED_MAX = 16_384; // about 2 KiB each with all slices in use: 32 MB
export const REQUEST_KEPT_BYTES_MAX = 1024 * 1024; // of one request: a long file; of larger ones only the salt is kept
export const REQUESTS_KEPT_BYTES_MAX = 512 * 1024 * 1024; // half a million requests of 1 KiB; the oldest go
export const REQUESTS_KEPT_MS = 30 * 86_400_000; // for replay and to show what was committed to; a month is looked back
export const POLICIES_BROUGHT_KEPT_MAX = 128; // by callers, each known by its digest; who brought one brings it again
export const POLICIES_BROUGHT_BYTES_MAX = 8 * 1024 * 1024; // of these together: texts, held in memory
export const POLICY_SETS_CACHED_MAX = 64; // combinations of brought policies with the configured ones, compiled
export const TOOL_DEFINITION_BYTES_MAX = 64 * 1024; // kept to show what changed; of larger ones the hash alone
export const TOOL_DEFINITIONS_BYTES_MAX = 512 * 1024; // kept of one server; the largest known list has 200 KB
export const TOOL_SERVERS_MAX = 256; // by name; forgetting one to make room would let it change unseen
export const TOOLS_PINNED_MAX = 4_096; // of one server, those that are gone too: its list four times over
export const TOOL_APPROVAL_MS = 7 * 86_400_000; // a change waits for who looks after the server, who may be away

// Control API
export const API_BODY_BYTES_MAX = 96 * 1024; // the largest entry of a log in base64url takes 80 KiB
export const API_ANSWER_BYTES_MAX = 64 * 1024 * 1024; // a client's bound: ten times a bundle in base64url
export const API_JSON_DEPTH_MAX = 16; // the deepest request nests 5 levels
export const LOG_ENTRIES_A_PAGE_MAX = 256; // a bundle: 15 MiB of the largest entries, usually 200 KB
export const LOG_ENTRIES_A_PAGE_DEFAULT = 50; // two screens
export const LOG_ENTRIES_SCANNED_MAX = 8_192; // looked at for one answer: some 30 ms
export const LOG_FOLLOW_MS = 500; // between two looks of a client that follows the log: sooner than people notice
export const CONTACT_TEXT_MAX = 254; // RFC 5321: the longest path that fits a command, less its angle brackets
export const ROOTS_MAX = 256; // organisations that one daemon trusts as roots of chains
export const ROOTS_BYTES_MAX = 32 * 1024; // roots.json: one root more than that, of 80 bytes each
export const LOGIN_NONCE_BYTES = 32; // as the handshake's: never drawn twice
export const LOGIN_CHALLENGE_SECONDS = 60; // one local round trip and one signature, with room for a person's debugger
export const LOGIN_CHALLENGES_PENDING_MAX = 256; // the oldest goes first
export const LOGIN_TOKEN_SECONDS = 900; // as long as a credential
export const TOKENS_PER_AGENT_MAX = 16; // one a process that `run` started; the oldest goes first
export const API_CONNECTIONS_MAX = 256; // open at once on one listener: agents, their streams, a person's commands
export const API_HEADER_BYTES_MAX = 8 * 1024; // a token and what HTTP clients add
export const API_HEADERS_MS = 10_000; // local clients send them in one packet
export const API_REQUEST_MS = 30_000; // for the 64 KiB of a body
export const API_IDLE_MS = 60_000; // four event heartbeats: a reader that takes nothing is gone
export const API_STOP_MS = 2_000; // that requests under way have to end when the daemon stops
export const API_LINKS_MAX = 128; // to servers of other organisations, each with a socket: half of the connections
export const API_LINK_BACKLOG_BYTES_MAX = 4 * 1024 * 1024; // that a client has not read, before the other side is not read from
export const API_LINK_CHECK_MS = 1_000; // between two looks whether a client is still there and its token counts
export const LINK_WAIT_SECONDS_MAX = 3_600; // that a call is held for an approval: no client waits longer for a tool
export const EVENT_LINKS_MAX = 64; // ids in one event, which is held in the ring: 4 KB of 250
export const API_CALL_MS = 60_000; // a client's patience: a look-up in the DHT is the slowest answer
export const EVENT_BYTES_MAX = 64 * 1024; // 64 links take 4 KB
export const EVENT_RETRY_MS = 1_000; // before a client asks again for events
export const EVENT_RETRY_MS_MAX = 10_000; // while the daemon is away; it restarts within seconds
export const CREDENTIAL_RETRY_MS = 10_000; // a credential renewed at half-life leaves 45 tries
export const EVENTS_RING_MAX = 4_096; // minutes of a busy daemon, for clients that resume
export const EVENT_BACKLOG_BYTES_MAX = 1024 * 1024; // unread by a client: then its stream is cut, and it resumes from the ring
export const EVENT_STREAMS_MAX = 64; // open event streams of one daemon
export const EVENT_HEARTBEAT_MS = 15_000; // below the usual 30 s and 60 s idle limits of proxies

// Policy conditions
export const CONDITION_TEXT_MAX = 16 * 1024; // a list of 500 names; what people can still review is far shorter
export const CONDITION_DEPTH_MAX = 32; // levels of parentheses, lists and "not"; generated conditions nest fewer than ten
export const CONDITION_NODES_MAX = 1_024; // fields, values and operators: that list of names, and as much again
export const CONDITION_STEPS_MAX = 2 ** 19; // elements, and letters 16 a step, looked at in one evaluation: a text as long as the largest request, twice
export const CONDITION_PROOF_STEPS_MAX = 10_000; // of comparing two conditions with each other: under a millisecond
export const CONDITION_PATTERN_TEXT_MAX = 512; // letters of a regular expression; a longer one is a list in disguise
export const CONDITION_PATTERN_PROGRAM_MAX = 1_024; // instructions; time a letter grows with them, measured at worst 10 µs

// MCP
export const MCP_MESSAGE_BYTES_MAX = 32 * 1024 * 1024; // a file of 20 MiB in base64; servers end on more anyway
export const MCP_SUBSCRIPTIONS_MAX = 256; // resources that one request listens to, each with a decision of its own; clients watch open files
export const MCP_DEPTH_MAX = 128; // JSON Schema nests two levels for one of the data, and data nests 32 at most in practice
export const MCP_ID_TEXT_MAX = 512; // an id is a number or a UUID; it is kept while a request is in flight
export const MCP_PATH_LETTERS_MAX = 1024 * 1024; // of all forms of all paths of one request: half a second of work
export const MCP_PATH_LINES_MAX = 256; // of a text that lists paths; a longer one is the content of a file
export const MCP_DECODINGS_MAX = 4; // of percent-encoding within percent-encoding: a URL in a URL in a URL
export const MCP_PATH_FORMS_MAX = 128; // ways to read one text as a path; an ordinary one has one or two, a mix of all tricks some forty
export const MCP_DIFF_LETTERS_MAX = 16 * 1024; // of a tool's changes, as a person reads them: two hundred lines
export const MCP_PENDING_MAX = 4_096; // requests of one side without an answer; at 1 KB each 4 MB, and no client has a hundred
export const MCP_WAITING_BYTES_MAX = 64 * 1024 * 1024; // of requests without an answer: two of the largest messages
export const MCP_HELD_MAX = 64; // held for approvals at a time; further ones are told that they wait, and not held
export const MCP_STATE_TEXT_MAX = 64 * 1024; // that a client carries for us from one round to the next: a form's answers, not a file
export const MCP_LIST_MS = 10_000; // that a server has for a page of its tools; the slowest seen fetches them over the network first
export const MCP_LIST_PAGES_MAX = 128; // of a list of tools; eight tools a page are MCP_TOOLS_MAX
export const MCP_REPORTS_MAX = 5; // of one kind, until the rest is only counted
export const MCP_DIFF_WORDS_MAX = 2_000; // of one text compared word by word; above, old and new are shown whole

// The MCP proxy over HTTP
export const PROXY_HEADER_BYTES_MAX = 16 * 1024; // of a request: Node's own default, which OAuth tokens fit
export const PROXY_HEADERS_MS = 10_000; // that a client has for them: local ones send them in one packet
export const PROXY_BODY_MS = 60_000; // and for the body: 32 MiB at 5 Mbit/s
export const PROXY_IDLE_MS = 30_000; // a connection without a request is kept; clients open another one
export const PROXY_CONNECTIONS_MAX = 512; // open at once; each session holds two or three
export const PROXY_SESSIONS_MAX = 64; // child processes of one proxy, at some 50 MB each: 3 GB
export const PROXY_SESSION_IDLE_MS = 1_800_000; // without a request or stream: half an hour, then its process ends
export const PROXY_SESSION_SPARE_MS = 60_000; // without either, when another client needs its place
export const PROXY_PEER_SESSIONS_MAX = 15; // of clients of a server elsewhere: a link each, of CALL_LINKS_A_SESSION_MAX there; one is for MCP without sessions
export const PROXY_PEER_SESSION_SPARE_MS = 1_000; // as PROXY_SESSION_SPARE_MS: places are fewer, and a client that comes back begins anew
export const PROXY_RELAYED_SESSIONS_MAX = 1_024; // of a server behind HTTP: state of a few KB each; the idlest goes first
export const PROXY_SESSION_ID_TEXT_MAX = 1_024; // servers put signed tokens into it
export const PROXY_EXCHANGES_MAX = 1_024; // requests and streams under way in one proxy
export const PROXY_BACKLOG_BYTES_MAX = 64 * 1024 * 1024; // unread by one reader: two of the largest messages; then it is cut
export const PROXY_KEEP_ALIVE_MS = 15_000; // between signs of life on a stream: below the usual 30 s and 60 s of proxies
export const PROXY_REPLAY_BYTES_MAX = 8 * 1024 * 1024; // kept of one session for clients that resume; the oldest goes first
export const PROXY_REPLAY_EVENTS_MAX = 1_024; // as above
export const PROXY_UPSTREAM_HEADERS_MS = 300_000; // that a server has before it answers; slow tools that do not stream take minutes
export const PROXY_UPSTREAM_CONNECT_MS = 10_000; // DNS, TCP and TLS: ten round trips of a second
export const PROXY_UPSTREAM_CONNECTIONS_MAX = 256; // to one server; streams hold theirs
export const PROXY_ERROR_BYTES_MAX = 64 * 1024; // of what a server says that is no message: problem documents take 2 KB
export const PROXY_RETRY_MS = 1_000; // before a broken stream is resumed where the server names no time
export const PROXY_RETRY_MS_MAX = 30_000; // whatever it names, and between tries that fail
export const PROXY_RETRIES_MAX = 5; // of a stream that gives nothing in between
export const PROXY_STOP_MS = 2_000; // that requests under way have when the proxy ends
export const PROXY_TOKEN_TEXT_MIN = 16; // letters of a token: 96 random bits in base64
export const PROXY_TOKEN_FILE_BYTES_MAX = 4_096; // a token and a line's end, not a file given by mistake

// Calls: the caller
export const GRANTS_LOOKED_AT_MAX = 32; // of the newest held for one agent from one organisation; each costs a verification of its chain
export const CALL_APPROVAL_WAIT_MS = 45_000; // that a call is held for an approval of its own side: below the 60 s that MCP clients wait
export const CALL_SESSION_IDLE_MS = 30_000; // that a session without links is kept for the next one: a client that is started anew
export const CALL_LINKS_AN_AGENT_MAX = 64; // of one own agent: each is a client process somewhere
export const CALL_LINKS_OUT_MAX = 512; // of one daemon
export const CALL_BYTES_OUT_MAX = 256 * 1024 * 1024; // that wait to be sent or are put together in all links of own clients: sixteen that are stuck
export const CALLS_RUNNING_A_LINK_MAX = 256; // without a receipt; clients run a few at a time
export const CALLS_ENDED_MAX = 1_024; // without a receipt of both, held in memory so that a repeated key can still be settled
export const CALL_OPEN_MS = 10_000; // for the answer to the first frame of a link, and to a renewal
export const CALL_SILENCE_MS = 660_000; // that a call waits without a word of the server about it: what a callee allows and a minute
export const CALL_LAST_MS = 2_000; // for what is under way when a link ends: receipts of what was given up

// Calls: the wire
export const CALL_FRAME_BYTES_MAX = 256 * 1024; // as of sync: the largest part or statement with room
export const CALL_PART_BYTES = 240 * 1024; // of a large body in one frame: measured, half as large costs a tenth more; what is urgent waits for one
export const CALL_PART_BYTES_MIN = 16 * 1024; // of each part but the last: what is kept beside a part stays small against it
export const CALL_INLINE_BYTES_MAX = 64 * 1024; // of a body inside its frame; nearly all requests and most results
export const CALL_OPEN_BODIES_MAX = 64; // that a side takes in parts at a time
export const CALL_OPEN_BODIES_SENT_MAX = 8; // that a side sends at a time: more finish no sooner
export const CALL_ASSEMBLY_BYTES_MAX = 64 * 1024 * 1024; // of bodies under way in one link: two of the largest messages
export const CALL_QUEUE_BYTES_MAX = 16 * 1024 * 1024; // that wait to be sent before a further message is refused: thirteen seconds at 10 Mbit/s
export const CALL_QUEUE_PAUSE_BYTES = 1024 * 1024; // that wait to be sent when sources should pause: four parts
export const CALL_QUEUE_MESSAGE_BYTES = 512; // that a waiting message counts beside its bytes: small ones are no cheaper to keep
export const CALL_STALL_MS = 30_000; // without a byte taken, or given of a body under way: three times what other streams wait
export const CALL_NONCE_BYTES = 32; // as the handshake's
export const CALL_WHY_TEXT_MAX = 512; // a sentence beside a code, with a few quoted values
export const CALL_NUMBER_MAX = 4_294_967_295; // calls of one session: four million a second
export const CALL_SERVER_TEXT_MAX = 64; // letters of the name under which a server is exposed; people type it
export const CALL_MAIL_BYTES_MAX = 72 * 1024; // a message of 64 KiB with its envelope

// Exposed servers
export const EXPOSED_MAX = 64; // servers of one daemon: what a person oversees, and the names that one answer lists
export const EXPOSED_WORDS_MAX = 64; // program and arguments; clients start theirs with a handful
export const EXPOSED_WORD_TEXT_MAX = 4_096; // a path, or a word that holds a small configuration
export const EXPOSED_VARIABLES_MAX = 64; // of the environment, or headers
export const EXPOSED_VALUE_TEXT_MAX = 8_192; // of one of them: a token with everything signed in it takes 4 KiB
export const EXPOSED_NEEDS_MAX = 512; // tools with a capability of their own: as many as one server should have
export const EXPOSED_DESCRIPTION_TEXT_MAX = 512; // what it is for, on one line; peers read it
export const EXPOSED_URL_TEXT_MAX = 2_048; // as browsers and proxies take for sure
export const EXPOSED_BODY_BYTES_MAX = 1024 * 1024; // of one exposure in the control API: all values at their bound take 600 KiB
export const EXPOSED_CHECK_MS = 50_000; // to start a server and list its tools once; npx may have to fetch it, and the one who asks waits for 60 s
export const EXPOSED_CHECKS_MAX = 4; // servers tried at a time; each is a process
export const EXPOSED_PRINT_LINE_BYTES_MAX = 2_048; // of what a server prints beside its messages, in the daemon's log
export const EXPOSED_PRINT_LINES_MAX = 20; // in each EXPOSED_PRINT_MS of one process: a stack trace; what is beyond is counted
export const EXPOSED_PRINT_MS = 10_000; // two lines a second for as long as it goes on: a day of it is some 350 MB at most
export const SERVICES_BYTES_MAX = 128 * 1024; // of one answer to who asks what is exposed: EXPOSED_MAX names and descriptions of up to four bytes a letter, and JSON around
export const SERVICES_GRANTS_MAX = 8; // chains presented one after the other to learn all that is exposed to them

// Messages between agents
export const MESSAGE_BYTES_MAX = 64 * 1024; // as any statement; the body with all around it takes 600 bytes more than itself
export const MESSAGE_BODY_BYTES_MAX = 60 * 1024; // a page of text takes 4 KB; what is larger is a file, and a call's business
export const MESSAGE_ID_BYTES = 16; // no two alike among 2^64
export const MESSAGE_SEQ_MAX = 9_007_199_254_740_991; // 2^53 - 1: what JSON can hold exactly; milliseconds for 285,000 years
export const MESSAGE_SECONDS_DEFAULT = 86_400; // a daemon that is away for longer than a day is missed
export const MESSAGE_SECONDS_MAX = 7 * 86_400; // whoever is away for longer would act on what is long over
export const MEDIA_TYPE_TEXT_MAX = 255; // RFC 6838: two names of 127 letters
export const OUTBOX_A_PAIR_MAX = 1_024; // waiting from one agent to another: as many as a recipient keeps of them
export const OUTBOX_A_SENDER_MAX = 4_096; // waiting from one agent, so that the others have room
export const OUTBOX_MAX = 16_384; // waiting in all; about 500 bytes of memory each
export const OUTBOX_BYTES_MAX = 256 * 1024 * 1024; // of waiting bodies on disk: four thousand of the largest
export const OUTBOX_KEPT_MAX = 2_048; // that are over, to be looked up; the log keeps what became of all
export const OUTBOX_KEPT_MS = 7 * 86_400_000; // after their end, likewise: as long as a message may live
export const INBOX_A_PAIR_MAX = 1_024; // from one agent to another, not acknowledged: nobody reads there
export const INBOX_AN_ORGANISATION_MAX = 4_096; // from one organisation, however many agents it makes
export const INBOX_AN_ORGANISATION_BYTES_MAX = 64 * 1024 * 1024; // likewise: a thousand of the largest
export const INBOX_MAX = 65_536; // in all; about 500 bytes of memory each
export const INBOX_BYTES_MAX = 1024 * 1024 * 1024; // of bodies on disk in all: sixteen organisations at their bound
export const INBOX_SENDERS_AN_ORGANISATION_MAX = 4_096; // pairs whose last number is remembered; those whose messages are all over are forgotten
export const INBOX_SENDERS_MAX = 65_536; // likewise in all
export const INBOX_PAGE_MAX = 64; // messages of one answer: 5 MiB of the largest
export const INBOX_ACK_MAX = 256; // acknowledged at once
export const INBOX_WAIT_SECONDS_MAX = 30; // that one question waits for a message; the next one follows
export const INBOX_WAITING_MAX = 1_024; // questions that wait at a time: four of each of 256 agents
export const OUTBOX_PAGE_MAX = 256; // messages of one answer, the newest: what a person looks at
export const MESSAGES_PER_SECOND = 50; // taken from one organisation: each costs two synced writes
export const MESSAGES_BURST = 500; // what waited while it or this side was away
export const MAIL_STREAMS_AN_ORGANISATION_MAX = 16; // that one organisation holds open here: one for each of its busy pairs
export const MAIL_STREAMS_MAX = 256; // in all
export const MAIL_IDLE_MS = 60_000; // without a message on a stream, until the recipient ends it
export const MAIL_LINGER_MS = 5_000; // that a sender keeps session and stream for the next message of a conversation
export const MAIL_ATTEMPT_MS = 30_000; // to reach, shake hands and be answered: three times a slow handshake
export const DELIVERIES_MAX = 32; // pairs delivered at a time: each may hold a session
export const DELIVERIES_AN_ORGANISATION_MAX = 8; // likewise to one: its connection carries 32 sessions, calls have the rest
export const MESSAGE_RETRY_MS = 1_000; // before a second try; doubled each time, from half to all of it at random
export const MESSAGE_RETRY_MS_MAX = 300_000; // and at once when a peer of the recipient's organisation shows itself
export const MESSAGE_SWEEP_MS = 30_000; // between two looks for what expired

// Detectors
export const JOINED_TEXT_MAX = 4_096; // units beside the border of two text blocks: the PEM block of an RSA key of 4096 bits takes 3,300
export const DETECT_DEPTH_MAX = 256; // levels of a result that is rewritten: messages of MCP nest less, and the stack takes some thousands
export const DETECT_ROUNDS_MAX = 4; // one changes, one sees that nothing is left; two more for what only shows once the first is out
export const FINDINGS_NOTED_MAX = 64; // named one by one beside a result; a person reads no more

// Calls at the callee
export const CALL_STREAMS_A_CONNECTION_MAX = 64; // links and questions of all agents behind one peer at a time
export const CALL_STREAMS_PER_SECOND = 50; // that one organisation may open: each costs a signature check, most a process
export const CALL_STREAMS_BURST = 200; // as a program of many agents that starts
export const CALL_PROOFS_A_SESSION_MAX = 4_096; // streams of one session in its life, each remembered: 400 KB
export const CALL_KEY_MS = 86_400_000; // that an idempotency key is remembered: a retry on the next working day is a new call
export const CALL_KEY_SURE_MS = 3_600_000; // that none is forgotten for the sake of others: longer than retries go on
export const CALL_KEYS_AN_ORGANISATION_MAX = 262_144; // 72 calls a second for the time above; about 250 bytes each without results
export const CALL_KEYS_MAX = 1_048_576; // of four organisations that use all of theirs: 250 MB
export const CALL_KEY_FILTER_BYTES = 2 * 1024 * 1024; // counters: of one organisation's keys above, 3 % of new ones are looked for on disk
export const CALL_KEY_RESULT_BYTES_MAX = 256 * 1024; // of a result kept for a retry; of a larger one only that it was given
export const CALL_KEYS_BYTES_AN_ORGANISATION_MAX = 128 * 1024 * 1024; // of all rows with results; beyond, results are not kept
export const EXPOSED_APPROVAL_WAIT_MS = 45_000; // that a call is held for an approval: MCP clients give up after 60 s
export const CALL_LINKS_IN_MAX = 256; // of all organisations; each holds a conversation and a server's end
export const CALL_LINKS_AN_ORGANISATION_MAX = 64; // a quarter of all: four that use everything leave nothing, one leaves most
export const CALL_LINKS_A_SESSION_MAX = 16; // clients of one agent at a time
export const CALL_SERVERS_MAX = 64; // processes, one a link: at 50 MB each 3 GB
export const CALL_SERVERS_AN_ORGANISATION_MAX = 16; // a quarter of all
export const CALLS_A_LINK_MAX = 128; // under way: twice what the busiest client has
export const CALLS_AN_ORGANISATION_MAX = 512; // of all its links: what the log writes in a few batches
export const CALLS_REFUSED_PER_SECOND = 50; // answered to one organisation, and lists: each is an entry of the log, or asks a server
export const CALLS_REFUSED_BURST = 200; // a client that begins asks for some ten
export const CALL_NUMBERS_BEHIND_MAX = 4_096; // how far a number may come after a higher one, over several links of a session
export const CALL_IDLE_MS = 600_000; // that a server may work at a call without a word about it
export const CALL_SIGN_MS = 30_000; // for the caller's signature of a receipt; then this side's stands alone
export const CALL_UNSIGNED_MAX = 1_024; // receipts of a link that wait for it: 2 MB
export const CALL_WAITING_BYTES_MAX = 64 * 1024 * 1024; // of answers that the caller does not take: two of the largest messages
export const CALL_BYTES_A_PEER_MAX = 256 * 1024 * 1024; // of messages under way with one peer, both ways, in all of its links
export const CALL_BYTES_MAX = 1024 * 1024 * 1024; // with all peers
