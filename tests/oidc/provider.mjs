// A certified OpenID provider for the tests, with people who have groups. Prints one line when it answers.
//
//   node provider.mjs FOLDER-OF-NODE-MODULES PORT ORIGIN-OF-COUNTERSIGN [ID-OF-THE-CLIENT]
import { generateKeyPairSync } from 'node:crypto';

const [folder, port, origin, client = 'countersign'] = process.argv.slice(2);
const { Provider } = await import(`${folder}/node_modules/oidc-provider/lib/index.js`);
const issuer = `http://127.0.0.1:${port}`;

const people = {
  ada: { name: 'Ada Admin', email: 'ada@corp.test', email_verified: true, preferred_username: 'ada', groups: ['ml-admins', 'staff'] },
  rita: { name: 'Rita Reviewer', email: 'rita@corp.test', email_verified: true, preferred_username: 'rita', groups: ['ml-reviewers'] },
  nils: { name: 'Nils Nobody', email: 'nils@corp.test', email_verified: false, preferred_username: 'nils', groups: ['staff'] },
};
const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...key, use: 'sig', alg: 'RS256', kid: `key-${process.pid}` }] },
  clients: [{
    client_id: client,
    client_secret: `${client}-secret-of-the-tests-0123456789`,
    redirect_uris: [`${origin}/oauth2callback`],
    post_logout_redirect_uris: [`${origin}/oauth2callback`],
    response_types: ['code'],
    grant_types: ['authorization_code'],
    backchannel_logout_uri: `${origin.replace(/localhost/, "127.0.0.1")}/api/v1/sign-in/backchannel-logout`,
    backchannel_logout_session_required: true,
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'groups'] },
  conformIdTokenClaims: false, // what was asked for by scope stands in the ID token itself
  ttl: { IdToken: 600, AccessToken: 600, AuthorizationCode: 60, Session: 86400, Grant: 86400, Interaction: 600 },
  pkce: { required: () => true },
  cookies: { keys: ['of-the-tests-and-of-nothing-else'] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true } },
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options), // it would not call an address of loopback
  findAccount: (_ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
});
for (const event of ['authorization.error', 'grant.error', 'server_error', 'backchannel.success', 'backchannel.error', 'end_session.success'])
  provider.on(event, (...told) => console.log(event, ...told.filter((one) => one instanceof Error).map((one) => `${one.message} ${one.error_description ?? one.cause ?? ''}`)));
provider.listen(Number(port), '127.0.0.1', () => console.log('answers', issuer));
