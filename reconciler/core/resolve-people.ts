// What can be said of declared users and keys that are valid by themselves: who and what they name, and what they can never do.
import { pointerOf } from '../../schema/pointer.ts';
import { allows, HOUSE, holds, isPattern, RIGHTS, ROLES } from '../../schema/scopes.ts';
import type { FilledDeclared } from '../../schema/validate.ts';
import { suggest } from '../../schema/words.ts';
import { DAY_LENGTH, instantOf, type People } from './people.ts';
import type { DesiredKey, DesiredPlugin, Problem } from './types.ts';

/** An admin can do all of it from the browser; without one only who can read the home of bkg can. */
export const checkAdmin = (people: People): readonly Problem[] => (people.users.every((user) => user.password === null) || people.users.some((user) => user.role === 'admin' && user.password !== null) ? [] : [{
  code: 'NoAdmin', pointer: '/users', line: null, column: null, severity: 'warning' as const,
  message: 'Nobody with the role admin has a password: users, manifests and server settings can be changed on the machine itself only.', hint: 'Give an admin one with `bkg user passwd NAME`, or somebody who has one the role admin.',
}]);

/** Scopes that no plugin and no right answers to. Only for a file whose plugins are all known. */
export function checkScopes(people: People, plugins: readonly DesiredPlugin[]): readonly Problem[] {
  const known = [...Object.keys(RIGHTS), ...plugins.flatMap((plugin) => plugin.capabilities.map(({ id }) => id))];
  const means = (scope: string): boolean => scope.startsWith(HOUSE) || (isPattern(scope) ? known.some((one) => allows([scope], one)) : known.includes(scope));
  return people.keys.flatMap((key) => key.scopes.flatMap((scope, index) => (means(scope) ? [] : [said({
    code: 'UnknownScope', path: [key.id, 'scopes', index], message: `Key ${key.id} has the scope ${scope}, which is no right, and no declared plugin offers it.`, hint: suggest(scope, known, 'Known'),
  })])));
}

type Said = { readonly code: string; readonly path: readonly (string | number)[]; readonly message: string; readonly hint: string | null; readonly severity?: Problem['severity'] };

const said = ({ code, path, message, hint, severity = 'warning' }: Said): Problem => ({ code, pointer: pointerOf(['keys', ...path]), line: null, column: null, message, hint, severity });

/** Plugins that are bound to keys that are not there: they may call nobody. */
export const checkBound = (people: People, plugins: readonly DesiredPlugin[]): readonly Problem[] => plugins.flatMap(({ id, key }) => (key === null || people.keys.some((one) => one.id === key) ? [] : [{
  code: 'UnknownKeyId', pointer: pointerOf(['plugins', id, 'key']), line: null, column: null, severity: 'warning' as const,
  message: `Plugin ${id} is bound to the key ${JSON.stringify(key)}, which is not declared: it may call nobody on the bus.`, hint: suggest(key, people.keys.map((one) => one.id), 'Declared') ?? 'Declare the key with `bkg key mint`, or remove `key`.',
}]));

/** Keys of people or plugins that are not there, or with more scopes than their user: they can do nothing, which is no reason to refuse the file. */
export function checkKeys(people: People, filled: FilledDeclared): readonly Problem[] {
  const users = new Map(people.users.map((user) => [user.name, user]));
  const plugins = Object.keys(filled.plugins);
  return people.keys.flatMap((key): readonly Problem[] => {
    const user = users.get(key.user);
    const unknown = !Object.hasOwn(filled.users, key.user)
      ? [said({ code: 'UnknownUser', path: [key.id, 'user'], message: `Key ${key.id} belongs to ${JSON.stringify(key.user)}, who is not declared: nobody can use it.`, hint: suggest(key.user, Object.keys(filled.users), 'Declared') ?? 'Declare the user, or remove the key.' })]
      // One that is declared wrong has been named already.
      : user === undefined ? [] : key.scopes.flatMap((scope, index) => (holds(ROLES[user.role], scope) ? [] : [said({
          code: 'ScopeBeyondRole', path: [key.id, 'scopes', index], message: `Key ${key.id} has the scope ${scope}, which its user ${user.name} (${user.role}) does not hold in full: it counts as far as the role goes.`, hint: `A ${user.role} has ${ROLES[user.role].join(', ')}.`,
        })]));
    const missing = (key.plugins ?? []).flatMap((name, index) => (Object.hasOwn(filled.plugins, name) ? [] : [said({
      code: 'UnknownPlugin', path: [key.id, 'plugins', index], message: `Key ${key.id} names the plugin ${JSON.stringify(name)}, which is not declared.`, hint: suggest(name, plugins, 'Declared'),
    })]));
    const none = key.scopes.length > 0 ? [] : [said({ code: 'NoScope', path: [key.id, 'scopes'], message: `Key ${key.id} has no scope: it can do nothing.`, hint: 'Say what it is for, like [llm.chat], or remove the key.' })];
    return [...unknown, ...none, ...missing, ...badDays(key, filled)];
  });
}

/** Keys that had ended at `now` (milliseconds since 1970) already: the slip of a year, or one to clear away. */
export const checkEnded = (people: People, now: number): readonly Problem[] => people.keys.flatMap(({ id, expires }) => (expires === null || expires > now ? [] : [said({
  code: 'KeyEnded', path: [id, 'expires'], message: `Key ${id} ended on ${new Date(expires).toISOString().slice(0, DAY_LENGTH)}: it is refused.`, hint: 'Write a day to come, or remove the key.',
})]));

/** Days that no month has. */
function badDays(key: DesiredKey, filled: FilledDeclared): readonly Problem[] {
  const declared = filled.keys[key.id];
  const days: readonly (readonly [path: readonly string[], text: string | undefined])[] = [[['expires'], declared?.expires], [['previous', 'until'], declared?.previous?.until]];
  return days.flatMap(([path, text]) => (text === undefined || instantOf(text) !== null ? [] : [said({
    code: 'WrongFormat', path: [key.id, ...path], severity: 'error', message: `Key ${key.id}: there is no day ${text.slice(0, 10)}.`, hint: 'Write a day of the calendar, like 2027-02-28.',
  })]));
}
