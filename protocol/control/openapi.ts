import type { TObject, TSchema } from 'typebox';
import type { ErrorCode } from '../errors.ts';
import { EventSchema } from './events.ts';
import { HTTP_STATUS, PROBLEM_MEDIA_TYPE } from './http-status.ts';
import { API_VERSION, LINK_UPGRADE } from './api-version.ts';
import { COMMON_ERRORS, OPERATION_IDS, type OperationId, type Route, routeOf } from './routes.ts';
import * as callSchemas from './call-schemas.ts';
import * as policySchemas from './policy-schemas.ts';
import * as schemas from './schemas.ts';

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
type JsonObject = { readonly [name: string]: Json };

/** Schemas in their plain JSON form; what the components name is replaced by a reference to it. */
const plain = (schema: unknown): Json => JSON.parse(JSON.stringify(schema)) as Json;
const components: ReadonlyMap<string, Json> = new Map(
  [
    ...Object.entries(schemas),
    ...Object.entries(policySchemas),
    ...Object.entries(callSchemas),
    ['Event', EventSchema] as const,
  ]
    .filter(([, schema]) => typeof schema === 'object')
    .map(([name, schema]) => [name, plain(schema)]),
);
const nameByText = new Map([...components].toReversed().map(([name, schema]) => [JSON.stringify(schema), name]));

function withReferences(schema: Json, except?: string): Json {
  if (Array.isArray(schema)) return schema.map((item: Json) => withReferences(item));
  if (typeof schema !== 'object' || schema === null) return schema;
  const name = nameByText.get(JSON.stringify(schema));
  if (name !== undefined && name !== except) return { $ref: `#/components/schemas/${name}` };
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, withReferences(value)]));
}
const referenceTo = (schema: TSchema): Json => withReferences(plain(schema));

/** The OpenAPI 3.1 document of the table. `version` is the daemon's. */
export function createOpenApiDocument(version: string): JsonObject {
  const paths: Record<string, Record<string, Json>> = {};
  for (const operationId of OPERATION_IDS) {
    const route = routeOf(operationId);
    const path = (paths[route.path] ??= {});
    path[route.method.toLowerCase()] = operationOf(operationId, route);
  }
  return {
    openapi: '3.1.0',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: {
      title: 'AgentMesh control API',
      version,
      summary: `HTTP and JSON on the daemon's unix socket; API version ${API_VERSION}`,
      description:
        "A request without a token on the unix socket is the operator's. A bearer token acts as one agent and can do only that agent's business. " +
        'Over TCP every request but the two of a login needs a token.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [
      { url: 'http://localhost', description: "the unix socket in the daemon's home; the host name is not used" },
    ],
    paths,
    components: {
      schemas: Object.fromEntries([...components].map(([name, schema]) => [name, withReferences(schema, name)])),
      securitySchemes: {
        operator: {
          type: 'apiKey',
          in: 'header',
          name: 'authorization',
          description: 'No header at all: whoever may open the unix socket (mode 0600) is the operator',
        },
        agentToken: {
          type: 'http',
          scheme: 'bearer',
          description: '32 random bytes as base64url, issued by register, token or login',
        },
      },
    },
  };
}

const SECURITY: Readonly<Record<Route['who'], Json>> = {
  operator: [{ operator: [] }],
  agent: [{ operator: [] }, { agentToken: [] }],
  anyone: [],
};

function operationOf(operationId: OperationId, route: Route): Json {
  return {
    operationId,
    summary: route.summary,
    security: SECURITY[route.who],
    'x-agentmesh-who': route.who,
    ...(route.own === undefined ? {} : { 'x-agentmesh-own': route.own }),
    ...parametersOf(operationId, route),
    ...(route.body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: referenceTo(route.body) } } } }),
    responses: { ...successOf(operationId, route), ...problemsOf(route) },
  };
}

function parametersOf(operationId: OperationId, route: Route): JsonObject {
  const parameters: Json[] = [];
  for (const where of ['params', 'query'] as const) {
    const { properties, required: names = [] } = route[where] as Pick<TObject, 'properties'> & { required?: string[] }; // TypeBox leaves an empty list out
    for (const [name, schema] of Object.entries(properties)) {
      const required = names.includes(name);
      parameters.push({ name, in: where === 'params' ? 'path' : 'query', required, schema: referenceTo(schema) });
    }
  }
  if (operationId === 'events') {
    parameters.push({
      name: 'last-event-id',
      in: 'header',
      required: false,
      schema: { type: 'string', maxLength: 64 },
    });
  }
  if (operationId === 'link') {
    const schema = { type: 'string', const: LINK_UPGRADE };
    parameters.push({ name: 'upgrade', in: 'header', required: true, schema });
  }
  return parameters.length === 0 ? {} : { parameters };
}

function successOf(operationId: OperationId, route: Route): JsonObject {
  if (operationId === 'events') {
    const description =
      'text/event-stream: id, event (the type) and data, which is an Event; lines that begin with ":" keep the connection open';
    return {
      '200': {
        description,
        content: {
          'text/event-stream': {
            schema: { type: 'string' },
            'x-agentmesh-data': { $ref: '#/components/schemas/Event' },
          },
        },
      },
    };
  }
  if (operationId === 'link') {
    const description =
      'Switching to lines of JSON, ended by \\n: messages of MCP both ways, and from the daemon LinkLines';
    const lines = { 'application/x-ndjson': { schema: referenceTo(route.response) } };
    return { '101': { description, content: lines } };
  }
  const content = { 'application/json': { schema: referenceTo(route.response) } };
  const found = { '200': { description: 'Done', content } };
  return operationId === 'readyz' ? { ...found, '503': { description: 'Not ready', content } } : found;
}

/** One response a status, naming the codes that come with it. */
function problemsOf(route: Route): JsonObject {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set<ErrorCode>([...COMMON_ERRORS, ...route.errors])) {
    byStatus.set(HTTP_STATUS[code], [...(byStatus.get(HTTP_STATUS[code]) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus]
      .filter(([status]) => !(status === 503 && route.path === '/readyz'))
      .map(([status, codes]) => [
        String(status),
        {
          description: codes.join(', '),
          content: {
            [PROBLEM_MEDIA_TYPE]: {
              schema: {
                allOf: [
                  { $ref: '#/components/schemas/Problem' },
                  { type: 'object', properties: { code: { enum: codes } } },
                ],
              },
            },
          },
        },
      ]),
  );
}
