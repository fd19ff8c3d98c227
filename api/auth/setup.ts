// The first start: while no admin can sign in, a link that is good once lets whoever reads bkg's output set the password.
import { randomBytes } from 'node:crypto';
import type { Reconciler } from '../../reconciler/index.ts';
import type { Passwords } from './passwords.ts';

const CODE_BYTES = 32;
/** Who is made when nobody is declared. */
const FIRST_ADMIN = 'admin';

export type Setup = ReturnType<typeof openSetup>;

export function openSetup(o: { readonly reconciler: Pick<Reconciler, 'snapshot'>; readonly passwords: Pick<Passwords, 'canSignIn'> }) {
  // Another one at each start, and after it was used; nobody has to keep it.
  const made = (): string => randomBytes(CODE_BYTES).toString('base64url');
  let code = made();
  const admins = () => o.reconciler.snapshot().desired.users.filter((user) => user.role === 'admin');
  return {
    /** The code of the link; null once an admin can sign in. */
    async code(): Promise<string | null> {
      const able = await Promise.all(admins().map(o.passwords.canSignIn));
      if (!able.includes(true)) return code;
      // The link that was told is over, also when their password goes again.
      code = made();
      return null;
    },
    /** It was used: the next one is told at the next start. */
    burn: (): void => { code = made(); },
    /** Whose password it sets, and whether anybody of that name is declared already. */
    user(): { readonly name: string; readonly declared: boolean } {
      const name = admins()[0]?.name ?? FIRST_ADMIN;
      return { name, declared: o.reconciler.snapshot().desired.users.some((user) => user.name === name) };
    },
  };
}
