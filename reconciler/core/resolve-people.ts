// What can be said of declared users and keys that are valid by themselves: who and what they name, and what they can never do.
import { pointerOf } from '../../schema/pointer.ts';
import { holds, ROLES } from '../../schema/scopes.ts';
import type { FilledDeclared } from '../../schema/validate.ts';
import { suggest } from '../../schema/words.ts';
import { instantOf, type People } from './people.ts';
import type { DesiredKey, DesiredPlugin, Problem } from './types.ts';

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
    return [...unknown, ...missing, ...badDays(key, filled)];
  });
}

/** Days that no month has. */
function badDays(key: DesiredKey, filled: FilledDeclared): readonly Problem[] {
  const declared = filled.keys[key.id];
  const days: readonly (readonly [path: readonly string[], text: string | undefined])[] = [[['expires'], declared?.expires], [['previous', 'until'], declared?.previous?.until]];
  return days.flatMap(([path, text]) => (text === undefined || instantOf(text) !== null ? [] : [said({
    code: 'WrongFormat', path: [key.id, ...path], severity: 'error', message: `Key ${key.id}: there is no day ${text.slice(0, 10)}.`, hint: 'Write a day of the calendar, like 2027-02-28.',
  })]));
}
