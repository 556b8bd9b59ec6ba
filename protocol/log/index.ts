/** Formats and verifiers of the transparency log, for whoever keeps, watches or checks one; SPEC "Transparency log formats". */
export { type Binding, logOf, originOf } from './binding.ts';
export {
  type Checkpoint,
  formatCheckpointText,
  parseCheckpoint,
  parseCheckpointText,
  type SignedCheckpoint,
} from './checkpoint.ts';
export { EntrySigners } from './entry-signers.ts';
export {
  commitmentOf,
  createEntry,
  type Entry,
  type EntryFields,
  type EntrySigner,
  isOfType,
  type ParsedEntry,
  parseEntry,
  verifyEntry,
} from './entry.ts';
export {
  type CommonData,
  ENTRY_TYPE_NAMES,
  ENTRY_TYPES,
  type EntryDataOf,
  type EntryMembers,
  entryTypeOf,
  type EntryTypeName,
  isForeignType,
  type WireType,
  wireTypeOf,
} from './entry-types.ts';
export { checkpointSignature, openCheckpoint } from './checkpoint-statement.ts';
export { CONVICTED_AS, type Conviction, type ConvictedAs, vkeyOf } from './conviction.ts';
export { type EdgeTile, TreeEdge } from './edge.ts';
export { type Leaf, toCloudEventLine, toJsonLine } from './export/lines.ts';
export { OCSF_VERSION, type OcsfOptions, toOcsf, toOcsfLine } from './export/ocsf.ts';
export {
  evaluateFork,
  examineExtension,
  type Extension,
  FORK_DOUBTS,
  type ForkDoubt,
  type ForkEvidence,
  type ForkVerdict,
} from './fork.ts';
export {
  cosignatureMessage,
  createCosignatureLine,
  createSignatureLine,
  formatNote,
  type Note,
  noteMessage,
  type NoteSignature,
  parseNote,
  type VerifiedSignature,
  verifyNote,
} from './note.ts';
export {
  formatPolicy,
  type Freshness,
  isQuorumMet,
  type Octets,
  parsePolicy,
  type Policy,
  type PolicyGroup,
  type PolicyLog,
  type PolicyName,
  type PolicyWitness,
  type VerifiedCheckpoint,
  verifyCheckpoint,
  verifyProofFile,
} from './policy.ts';
export { formatProofFile, parseProofFile, type ProofFile } from './proof-file.ts';
export {
  CHECKPOINT_PATH,
  listLogFiles,
  type LogFiles,
  POLICY_PATH,
  tileReaderOf,
  VKEY_PATH,
} from './log-files.ts';
export { type LogName, logVkey, originHash, parseLogOrigin, parseWitnessName, witnessVkey } from './names.ts';
export { hashAt, proveConsistency, proveInclusion, rootFromTiles, TileNodes, type TileReader } from './prove.ts';
export {
  type BindingSigners,
  type BindingTerms,
  checkpointStatement,
  createForkProof,
  type ForkFound,
  signBinding,
  stripNote,
} from './statements.ts';
export {
  formatHashLines,
  formatReadPath,
  parseHashLinesOf,
  parseReadPath,
  READ_STATUSES,
  type ReadPath,
  type ReadQuestion,
  type ReadStatus,
} from './reading.ts';
export {
  formatBundle,
  formatTile,
  formatTilePath,
  parseBundle,
  parseTile,
  parseTilePath,
  rootOfEdge,
  TILE_WIDTH,
  type TileLevel,
  tileLevels,
  type TilePlace,
} from './tile.ts';
export {
  createTreeHasher,
  emptyRoot,
  foldConsistency,
  type FoldedRoots,
  foldInclusion,
  HASH_BYTES,
  isPowerOfTwo,
  leafHash,
  nodeHash,
  rootOfHashes,
  type Sha256,
  type TreeHasher,
  verifyConsistency,
  verifyExtension,
  verifyInclusion,
} from './tree.ts';
export {
  type LogProgress,
  type LogReport,
  type VerifiedEntry,
  verifyEntryProof,
  verifyLog,
  type VerifyLogOptions,
} from './verify-log.ts';
export {
  createVkey,
  formatVkey,
  isKeyName,
  LOG_KEY_TYPE,
  parseVkey,
  type Vkey,
  type VkeyType,
  WITNESS_KEY_TYPE,
} from './vkey.ts';
export {
  type AddCheckpointRequest,
  formatAddCheckpoint,
  formatCosignatures,
  formatTreeSize,
  monitoringPath,
  parseAddCheckpoint,
  parseCosignatures,
  parseMonitoringPath,
  parseTreeSize,
  TREE_SIZE_CONTENT_TYPE,
  WITNESS_STATUSES,
  type WitnessStatus,
} from './witness.ts';
export { createUuid7, isUuid7, parseUuid7, type Uuid7 } from './uuid7.ts';
