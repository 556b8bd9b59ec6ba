/** Calls between organisations as bytes; SPEC "Calls". */
export {
  type Asked,
  ASKED,
  type BodyOnWire,
  type CallFrame,
  type CallFrameName,
  type CallFrameOf,
  encodeCallFrame,
  encodePartFrame,
  hasBody,
  parseCallFrame,
  type ParsedCallFrame,
} from './frames.ts';
export { openDigest, type OpenClaim, openProof, verifyOpenProof } from './proof.ts';
export { type Digested, type ExposureDigests, exposureDigests } from './exposure-digest.ts';
export {
  type ExposureFault,
  exposureFault,
  type ExposureInput,
  isExposedName,
  type ServerPlace,
} from './exposure.ts';
export {
  coversSome,
  isCall,
  isPossiblyCovered,
  type Need,
  needOf,
  segmentOf,
  type ServerNeeds,
  verifyCovered,
} from './needs.ts';
