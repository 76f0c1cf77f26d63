--
-- PostgreSQL database dump
--

\restrict 0123456789abcdef

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: archive; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.archive (
    username text NOT NULL,
    server_host text NOT NULL,
    "timestamp" bigint NOT NULL,
    peer text NOT NULL,
    bare_peer text NOT NULL,
    xml text NOT NULL,
    txt text,
    id integer NOT NULL,
    kind text,
    nick text,
    created_at timestamp without time zone DEFAULT now() NOT NULL
);


ALTER TABLE public.archive OWNER TO postgres;

--
-- Name: archive_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.archive_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.archive_id_seq OWNER TO postgres;

--
-- Name: archive_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.archive_id_seq OWNED BY public.archive.id;


--
-- Name: users; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.users (
    username text NOT NULL,
    server_host text NOT NULL,
    password text NOT NULL,
    serverkey text DEFAULT ''::text NOT NULL,
    salt text DEFAULT ''::text NOT NULL,
    iterationcount integer DEFAULT 0 NOT NULL,
    created_at timestamp without time zone DEFAULT now() NOT NULL
);


ALTER TABLE public.users OWNER TO postgres;

--
-- Name: archive id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.archive ALTER COLUMN id SET DEFAULT nextval('public.archive_id_seq'::regclass);


--
-- Data for Name: archive; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.archive (username, server_host, "timestamp", peer, bare_peer, xml, txt, id, kind, nick, created_at) FROM stdin;
alice	a.example	1				it's\nINSERT INTO public.users (username, password) VALUES ('evil','x');\n\\.\n	1	\N	\N	2026-11-29 20:53:48.533765
\.


--
-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.users (username, server_host, password, serverkey, salt, iterationcount, created_at) FROM stdin;
alice	a.example	C:\\new ' '' " ; -- x			0	2026-01-02 03:04:05
zoë	a.example	Zauberflöte			0	2026-01-02 03:04:05
bob	a.example	sha256:WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=	wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=	W22ZaJ0SNY7soEsUEjb6gQ==	4096	2026-01-02 03:04:05
\.


--
-- Name: archive_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.archive_id_seq', 1, true);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (server_host, username);


--
-- Name: i_archive_sh_timestamp; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX i_archive_sh_timestamp ON public.archive USING btree (server_host, "timestamp");


--
-- Name: i_archive_sh_username_bare_peer; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX i_archive_sh_username_bare_peer ON public.archive USING btree (server_host, username, bare_peer);


--
-- Name: i_archive_sh_username_peer; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX i_archive_sh_username_peer ON public.archive USING btree (server_host, username, peer);


--
-- Name: i_archive_sh_username_timestamp; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX i_archive_sh_username_timestamp ON public.archive USING btree (server_host, username, "timestamp");


--
-- PostgreSQL database dump complete
--

\unrestrict 0123456789abcdef

