// What the page needs from the vendored packages, under one global; boot.js is the rest.
import * as React from "react";
import { createRoot } from "react-dom/client";
import { GraphiQL } from "graphiql";
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { createClient } from "graphql-ws";
import { setNonce } from "get-nonce";
import "graphiql/graphiql.css";

globalThis.GraphiQLBundle = { React, createRoot, GraphiQL, createGraphiQLFetcher, createClient, setNonce };
