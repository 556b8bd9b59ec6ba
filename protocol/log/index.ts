/** Formats and verifiers of the transparency log, for whoever keeps, watches or checks one; SPEC "Transparency log formats". */
export {
  type Checkpoint,
  formatCheckpointText,
  parseCheckpoint,
  parseCheckpointText,
  type SignedCheckpoint,
} from './checkpoint.ts';
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
export { type LogName, logVkey, originHash, parseLogOrigin, witnessVkey } from './names.ts';
export { hashAt, proveConsistency, proveInclusion, rootFromTiles, TileNodes, type TileReader } from './prove.ts';
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
  emptyRoot,
  foldConsistency,
  type FoldedRoots,
  foldInclusion,
  HASH_BYTES,
  isPowerOfTwo,
  leafHash,
  nodeHash,
  rootOfHashes,
  verifyConsistency,
  verifyExtension,
  verifyInclusion,
} from './tree.ts';
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
