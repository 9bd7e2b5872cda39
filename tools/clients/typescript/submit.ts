// Submits a job with openapi-fetch over the types that openapi-typescript generates, and reads it back.
import createClient from "openapi-fetch";
import type { paths } from "../generated/waybill.js";

const client = createClient<paths>({
  baseUrl: process.env.WAYBILL_URL!,
  headers: { Authorization: `Bearer ${process.env.WAYBILL_API_KEY}` },
});
const made = await client.POST("/v1/jobs", { body: { type: "debug.echo", payload: { hello: "openapi-typescript" } } });
if (!made.data) throw new Error(JSON.stringify(made.error));
const read = await client.GET("/v1/jobs/{id}", { params: { path: { id: made.data.id } } });
if (!read.data) throw new Error(JSON.stringify(read.error));
console.log("openapi-typescript:", read.data.id, read.data.state);
