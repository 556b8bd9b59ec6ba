/** Reads server-sent events (WHATWG HTML, "Server-sent events") as far as this API uses them. */
import { checkJson, EventSchema, type MeshEvent } from '../protocol/control/index.ts';
import { limits, MeshError } from '../protocol/index.ts';
import { parseAnswer } from './http.ts';

/** Errors: too_large, internal; whatever the chunks throw. */
export async function* parseEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<MeshEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const event = parseEvent(rest.slice(0, end));
      rest = rest.slice(end + 2);
      if (event !== undefined) yield event;
    }
    if (rest.length > limits.EVENT_BYTES_MAX) {
      throw new MeshError('too_large', `Cannot read an event: more than ${limits.EVENT_BYTES_MAX} characters`, {
        want: limits.EVENT_BYTES_MAX,
      });
    }
  }
}

/** Undefined for comments and for what sets the time of retries. */
function parseEvent(block: string): MeshEvent | undefined {
  const data = block
    .split('\n')
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice(5).trimStart());
  return data.length === 0
    ? undefined
    : (checkJson(EventSchema, parseAnswer(data.join('\n')), 'an event of the daemon', 'internal') as MeshEvent);
}
