/** Messages between agents; SPEC "Messages". */
export { createMessage, type MessageFields, type MessageSession, openMessage, verifyInTime } from './message.ts';
export { isMediaType, type Message } from './schema.ts';
