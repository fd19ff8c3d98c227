// Messages of a chat request: checked, and brought into the one form that templates read.
import { badRequest } from './errors.ts';
import type { Body } from './requests.ts';
import type { Message } from './template.ts';
import { isToolCall } from './tools.ts';

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'];

/** Every message has its content as text; the developer's word is the system's. */
export function messagesOf(body: Body): readonly Message[] {
  const messages = body['messages'];
  if (!Array.isArray(messages) || messages.length === 0) throw badRequest('`messages` must be a list with at least one message.', 'messages');
  return (messages as readonly unknown[]).map((value, index) => {
    const where = `messages[${index}]`;
    const message = value as Partial<Message> | null;
    const role = message?.role;
    if (typeof role !== 'string' || !ROLES.includes(role)) throw badRequest(`\`${where}.role\` must be one of ${ROLES.join(', ')}.`, `${where}.role`);
    const calls = message?.tool_calls ?? undefined;
    if (calls !== undefined && (!Array.isArray(calls) || !(calls as readonly unknown[]).every(isToolCall))) throw badRequest(`\`${where}.tool_calls\` must be a list of {id, type: "function", function: {name, arguments}}.`, `${where}.tool_calls`);
    const { tool_calls: _calls, ...rest } = message as Message;
    return { ...rest, role: role === 'developer' ? 'system' : role, content: textOf(message?.content, `${where}.content`), ...(calls === undefined ? {} : { tool_calls: calls }) };
  });
}

/** Content may come in parts; this server reads text. */
function textOf(content: unknown, where: string): string {
  if (typeof content === 'string') return content;
  if (content === undefined || content === null) return '';
  if (!Array.isArray(content)) throw badRequest(`\`${where}\` must be a string or a list of parts.`, where);
  return (content as readonly ({ readonly type?: unknown; readonly text?: unknown } | null)[]).map((part) => {
    if (part?.type !== 'text' || typeof part.text !== 'string') throw badRequest(`This server reads text only, not ${JSON.stringify(part?.type ?? part)?.slice(0, 40)}.`, where);
    return part.text;
  }).join('');
}
