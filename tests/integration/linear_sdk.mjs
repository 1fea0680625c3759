// Drives a server of Linear's API with the real client: `documents` prints the client's documents, `flow URL KEY TOKEN ISSUE`
// does what an agent's integration does and prints what it saw.
import { LinearClient, LinearDocument } from "@linear/sdk";
import { LinearWebhookClient } from "@linear/sdk/webhooks";
import { randomUUID } from "node:crypto";

const [mode, apiUrl, apiKey, accessToken, identifier] = process.argv.slice(2);

function documents() {
  const entries = Object.entries(LinearDocument).filter(([name]) => name.endsWith("Document"));
  return Object.fromEntries(entries.map(([name, text]) => [name, String(text)]));
}

async function refusal(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    return { name: error.constructor.name, type: error.type, message: error.message, status: error.status };
  }
}

async function flow() {
  const client = new LinearClient({ apiKey, apiUrl });
  const seen = {};
  const viewer = await client.viewer;
  seen.viewer = viewer.name;
  const issue = await client.issue(identifier);
  seen.title = issue.title;
  const team = await issue.team;
  const states = await team.states();
  seen.states = states.nodes.map((state) => state.name).sort();
  const done = states.nodes.find((state) => state.name === "In Progress");
  const moved = await client.updateIssue(issue.id, { stateId: done.id });
  seen.moved = moved.success;
  seen.state = (await (await client.issue(identifier)).state).name;
  const id = randomUUID();
  const commented = await client.createComment({ id, issueId: issue.id, body: "from the client" });
  seen.comment = (await commented.comment).body;
  seen.again = await refusal(client.createComment({ id, issueId: issue.id, body: "from the client" }));
  seen.missing = await refusal(client.issue("ENG-9999"));
  seen.wrongKey = await refusal(new LinearClient({ apiKey: "lin_api_wrong", apiUrl }).viewer);
  const filter = { state: { name: { in: ["Todo"] } } };
  let page = await client.issues({ filter, first: 2, orderBy: LinearDocument.PaginationOrderBy.UpdatedAt });
  seen.pages = [page.nodes.length];
  while (page.pageInfo.hasNextPage) {
    page = await page.fetchNext();
    seen.pages.push(page.nodes.length);
  }
  seen.blockers = await Promise.all(
    (await issue.inverseRelations()).nodes.map(async (one) => [one.type, (await one.issue).identifier]),
  );
  const link = await client.attachmentLinkGitHubPR(issue.id, "https://github.com/acme/app/pull/7");
  seen.attachment = (await link.attachment).sourceType;
  const label = await client.createIssueLabel({ name: "seen", teamId: team.id });
  const labelled = await client.updateIssue(issue.id, { addedLabelIds: [(await label.issueLabel).id] });
  seen.labels = (await (await labelled.issue).labels()).nodes.map((one) => one.name);
  const upload = await client.fileUpload("text/plain", "log.txt", 5);
  const put = await fetch(upload.uploadFile.uploadUrl, {
    method: "PUT",
    headers: {
      "Content-Type": "text/plain",
      ...Object.fromEntries(upload.uploadFile.headers.map(({ key, value }) => [key, value])),
    },
    body: "hello",
  });
  const asset = await fetch(upload.uploadFile.assetUrl, { headers: { Authorization: apiKey } });
  seen.upload = [put.status, await asset.text()];
  const agent = new LinearClient({ accessToken, apiUrl });
  const session = await (await agent.agentSessionCreateOnIssue({ issueId: issue.id })).agentSession;
  seen.sessions = [session.status];
  for (const content of [
    { type: "thought", body: "hm" },
    { type: "elicitation", body: "which?" },
    { type: "response", body: "done" },
  ]) {
    await agent.createAgentActivity({ agentSessionId: session.id, content });
    seen.sessions.push((await agent.agentSession(session.id)).status);
  }
  const activities = (await (await agent.agentSession(session.id)).activities()).nodes;
  seen.activities = activities.map((one) => one.content.__typename).sort();
  seen.rateLimit = (await client.rateLimitStatus).kind;
  return seen;
}

async function verify() {
  // `verify SECRET` reads {body, signature, timestamp} lines and says what the client's own check thinks of them.
  const hooks = new LinearWebhookClient(apiUrl);
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks)
    .toString()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .map(({ body, signature, timestamp }) => {
      try {
        return hooks.verify(Buffer.from(body, "base64"), signature, timestamp);
      } catch (error) {
        return error.message;
      }
    });
}

const modes = { documents, flow, verify };
console.log(JSON.stringify(await modes[mode]()));
