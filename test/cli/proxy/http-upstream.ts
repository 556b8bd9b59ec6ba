/** A server behind HTTP that says what it is told. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Id } from '../../../protocol/mcp/index.ts';

export interface Got {
  readonly method: string;
  readonly headers: IncomingMessage['headers'];
  readonly url: string;
  readonly body: string;
  readonly message: { readonly id?: Id; readonly method?: string; readonly params?: Record<string, unknown> };
  readonly response: ServerResponse;
  /** Its client is gone, before or after the answer. */
  isClosed: boolean;
}

export interface Fake extends AsyncDisposable {
  readonly url: string;
  readonly got: Got[];
}

/** A server behind HTTP that answers as it is told. */
export async function upstreamWith(answer: (got: Got) => void): Promise<Fake> {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      const body = Buffer.concat(chunks).toString();
      const { method = '', headers, url = '' } = request;
      const message = body === '' ? {} : (JSON.parse(body) as Got['message']);
      const one: Got = { method, headers, url, body, message, response, isClosed: false };
      response.once('close', () => {
        one.isClosed = true;
      });
      got.push(one);
      answer(one);
    });
  });
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/up?key=of-the-server`,
    got,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((settle) => server.close(() => settle()));
    },
  };
}

export const json = (
  { response, message: { id } }: Got,
  result: unknown = {},
  headers: Record<string, string> = {},
): void => {
  response.writeHead(200, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
};
export const stream = ({ response }: Got): void =>
  void response.writeHead(200, { 'content-type': 'text/event-stream' });
export const event = ({ response }: Got, message: unknown, id?: string): void =>
  void response.write(
    `${id === undefined ? '' : `id: ${id}\n`}data: ${message === '' ? '' : JSON.stringify({ jsonrpc: '2.0', ...(message as object) })}\n\n`,
  );
