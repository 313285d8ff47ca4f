/*
 * Members, removal, rotation and a lying backend: a model of what
 * docs/vault-format.md says of members and deks. README.md explains it; guards
 * name the rule that they are.
 *
 * A run is in one of three worlds: LIES, HOSTILE (the default) or FRIENDLY. Each
 * variant (see run.sh) leaves out one rule, and must fail.
 */

#define O 0 /* an owner */
#define P 1 /* a member; in FRIENDLY a second owner */
#define M 2 /* a member who is removed; but for FRIENDLY it is malicious */

#ifdef FRIENDLY
#define OWNER(who) ((who) != M)
#define DEVICES 3
#else
#define OWNER(who) ((who) == O)
#define DEVICES 2
#endif

/* Items, as bits: one is there from the start, each identity adds one. */
#define OLD 1
#define ADDS(who) (2 << (who))

#ifndef MEMBERS
#define MEMBERS 4 /* members objects that there can be, the first one included */
#endif
#ifndef DEKS
#define DEKS 5 /* deks objects */
#endif
#ifndef FORGED
#define FORGED 2 /* objects that the malicious identity makes */
#endif
#ifndef KEKS
#define KEKS 3 /* KEK versions */
#endif

/*
 * Every object that was ever written. The number of one is its hash. What a
 * members object has beyond the one before it is a write of one or more records.
 */
typedef Members {
	byte prev;    /* the object that it extends */
	byte by;      /* who signed its records */
	byte gone;    /* the object that removed M; 0: M is live */
	byte deks;    /* hash of the last good deks, in that removal */
	byte kek;     /* newest KEK version */
	byte retired; /* newest retired one */
	byte made[4]  /* by version: the object that made this KEK, which is its key */
}
typedef Deks {
	byte kek;   /* version that it is under */
	byte key;   /* the KEK itself, of its MAC and around its DEKs */
	byte epoch;
	byte head;  /* members that its writer knew */
	byte by;    /* who it says wrote it */
	bool sig;   /* by's signature */
	byte items;
	byte tombs;
	byte forged /* M made it when there were so many members objects; 0: it didn't */
}
Members members[MEMBERS];
Deks deks[DEKS];
byte nmembers = 1, ndeks = 1;

/* A device keeps what it accepted last: "History". */
typedef Device {
	byte members, deks;   /* accepted, and kept over a crash */
	byte atMembers, atDeks; /* versions in the store when it last looked, for compare-and-swap */
	byte shown;           /* whether it refuses what the store has, and shows it */
	byte saved, removed   /* items that it reported as saved; that it saw removed */
}
Device dev[DEVICES];

/* The store's two objects. When it lies it answers with any objects there are. */
byte nowMembers, nowDeks;

byte added, after;  /* items that were ever added; by who knew that M is removed */
byte forged; /* objects that M made */
bool crossed; /* M wrote what its removal doesn't name, and didn't know of the removal */
bool over;   /* the run has ended in a question: rescue or settle */

/* Scratch, set before it is read in each step. A search for the shortest run needs it in the state. */
#ifndef SHORTEST
hidden
#endif
byte x, stage, yes, kept;

/* Who can open a KEK. A KEK is sealed to who is live; M seals noise to others. */
#define M_KNOWS(key) (!members[key].gone || members[key].by == M)
#define OPENS(key) (members[key].by != M)

#define NEWEST(m) members[m].kek
#define OK 0
#define FORK 1
#define REFUSED 2 /* any other stage */

/* yes: the chain of m goes on from the one of before. */
inline extends(chain, before)
{
	x = chain;
	do
	:: x > before -> x = members[x].prev
	:: else -> break
	od;
	yes = (x == before)
}

#ifdef MEMBERKEKS
#define MAY_ALL true
#else
#define MAY_ALL false
#endif

/* "The chain", authorisation: who may write what. */
inline checkChain(chain)
{
	x = chain; yes = true;
	do
	:: x > 0 -> yes = yes && (OWNER(members[x].by) || MAY_ALL); x = members[x].prev
	:: else -> break
	od
}

/* "History" and "The chain": stage says whether who takes m for members. */
inline checkMembers(who, chain)
{
	checkChain(chain);
	if
	:: !yes || who == M && members[chain].gone -> stage = REFUSED
	:: else ->
		extends(chain, dev[who].members);
		if
		:: yes -> stage = OK
		:: else ->
			extends(dev[who].members, chain);
			stage = (yes -> REFUSED : FORK) /* rollback, or a fork */
		fi
	fi
}

/* "deks", 5: a live writer's signature; or the last good deks that its removal names. */
#ifdef NOSIG
#define SIGNED(m, d) true
#else
#define SIGNED(m, d) (deks[d].sig && (deks[d].by != M || !members[m].gone || NAMED(m, d)))
#endif
#ifdef NOHASH /* what is dated before the removal counts */
#define NAMED(m, d) (deks[d].head < members[m].gone)
#else
#define NAMED(m, d) (members[m].deks == d)
#endif

/* "deks", 4: the newest KEK at head, still live. */
#ifdef OLDKEK
#define KEK_AT_HEAD(d) (NEWEST(deks[d].head) >= deks[d].kek)
#else
#define KEK_AT_HEAD(d) (NEWEST(deks[d].head) == deks[d].kek)
#endif

/* "deks", 7: what was removed stays removed, what was there is there or removed. */
#ifdef NOFOLLOWS
#define FOLLOWS(d, last) true
#else
#define FOLLOWS(d, last) ((deks[last].tombs & ~deks[d].tombs) == 0 && (deks[last].items & ~(deks[d].items | deks[d].tombs)) == 0)
#endif

#define EARLIER(d, last) (deks[d].kek < deks[last].kek || deks[d].kek == deks[last].kek && deks[d].epoch < deks[last].epoch)
#define SAME_EPOCH(d, last) (deks[d].kek == deks[last].kek && deks[d].epoch == deks[last].epoch)

/*
 * "deks", 2 to 7: stage says whether who takes object beside the members chain. A
 * fork is told last: only what its writer signed shows that somebody is elsewhere.
 */
#ifdef FORKFIRST
#define FORK_FIRST(d, last) (SAME_EPOCH(d, last) && (d) != (last))
#else
#define FORK_FIRST(d, last) false
#endif
inline checkDeks(who, chain, object)
{
	extends(chain, deks[object].head);
	if
	:: EARLIER(object, dev[who].deks) -> stage = REFUSED /* 2, rollback */
	:: FORK_FIRST(object, dev[who].deks) -> stage = FORK
	:: else ->
		if
		:: !yes -> stage = REFUSED /* 3, head */
		:: deks[object].kek <= members[chain].retired || !KEK_AT_HEAD(object) -> stage = REFUSED /* 4 */
		:: !SIGNED(chain, object) -> stage = REFUSED /* 5 */
		:: deks[object].key != members[chain].made[deks[object].kek] || !OPENS(deks[object].key) ->
			stage = REFUSED /* 6, no seal that opens, or MAC */
		:: SAME_EPOCH(object, dev[who].deks) && object != dev[who].deks -> stage = FORK /* 2 */
		:: !FOLLOWS(object, dev[who].deks) -> stage = FORK /* 7 */
		:: else -> stage = OK
		fi
	fi
}

/* What a store gives is taken whole or not at all; "Reading a vault". */
inline check(who, chain, object)
{
	checkMembers(who, chain);
	if
	:: stage == OK -> checkDeks(who, chain, object)
	:: else
	fi
}

/* An honest device takes what it has checked, and the properties are held against it. */
inline accept(who, chain, object)
{
	dev[who].members = chain; dev[who].deks = object;
	printf("%d accepts members %d deks %d\n", who, chain, object);
	/* 1: what was added after the removal is under no KEK that M knows. */
	assert(who == M || !(deks[object].items & after) || !M_KNOWS(deks[object].key));
	/* 2: nothing that M made after the removal that this device has seen. */
	assert(!(members[chain].gone && members[chain].gone < deks[object].forged));
	/* 3: what was removed doesn't come back, what was saved is there until it is removed. */
	assert(!(deks[object].items & dev[who].removed));
	assert(!(dev[who].saved & ~(deks[object].items | deks[object].tombs)));
	dev[who].removed = dev[who].removed | deks[object].tombs
}

/*
 * "Removing identities": where deks is refused, the remover goes on from the last
 * one it accepted. Whoever isn't the remover knows by the hash whether its own is
 * that one. If not, what others saved in between would be gone.
 */
#ifdef ANYKEPT
#define GOES_ON(who, chain, kept) true
#else
#define GOES_ON(who, chain, kept) (!members[chain].gone || members[chain].deks == kept || members[dev[who].members].gone == members[chain].gone)
#endif

/* How a device stands to what the store has. */
#define TAKEN 0
#define INSTEAD 1 /* refused; what an owner has kept may replace it, in a removal */
#define STUCK 2   /* refused */

/* A refresh, or the look that each write begins with: "catch up". */
inline look(who, chain, object)
{
	dev[who].atMembers = chain; dev[who].atDeks = object;
	kept = dev[who].deks;
	dev[who].shown = STUCK;
	checkMembers(who, chain);
	if
	:: stage == OK ->
		checkDeks(who, chain, object);
		if
		:: stage == OK -> dev[who].shown = TAKEN; accept(who, chain, object)
		/* Somebody may be using a fork, unless M wrote it, who is being removed. */
		:: OWNER(who) && GOES_ON(who, chain, kept) && (stage == REFUSED || stage == FORK && deks[object].by == M) ->
			checkDeks(who, chain, kept);
			if
			:: stage == OK -> dev[who].shown = INSTEAD; accept(who, chain, kept)
			:: else
			fi
		:: else
		fi
	:: stage == REFUSED && OWNER(who) -> dev[who].shown = INSTEAD
	:: else
	fi;
	printf("%d looks: shown %d\n", who, dev[who].shown)
}

/* Compare-and-swap. A store that lies says yes, whatever it has. */
#ifdef LIES
#define LYING true
#define SWAPS_MEMBERS(who) true
#define SWAPS_DEKS(who) true
#else
#define LYING false
#define SWAPS_MEMBERS(who) (nowMembers == dev[who].atMembers)
#define SWAPS_DEKS(who) (nowDeks == dev[who].atDeks)
#endif

/* The next members object, to change. */
inline nextMembers(who, chain)
{
	members[nmembers].prev = chain;
	members[nmembers].by = who;
	members[nmembers].gone = members[chain].gone;
	members[nmembers].deks = members[chain].deks;
	members[nmembers].kek = members[chain].kek;
	members[nmembers].retired = members[chain].retired;
	members[nmembers].made[1] = members[chain].made[1];
	members[nmembers].made[2] = members[chain].made[2];
	members[nmembers].made[3] = members[chain].made[3]
}
inline makeKEK()
{
	members[nmembers].kek++;
	members[nmembers].made[NEWEST(nmembers)] = nmembers
}
inline putMembers()
{
	nowMembers = nmembers;
	printf("%d writes members %d: on %d, kek %d retired %d, M gone %d naming deks %d\n", members[nmembers].by, nmembers, members[nmembers].prev, NEWEST(nmembers), members[nmembers].retired, members[nmembers].gone, members[nmembers].deks);
	nmembers++
}

/* The next deks object of an honest writer: "Writing". */
inline putDeks(who, under, number, holds, lacks)
{
	deks[ndeks].kek = under;
	deks[ndeks].key = members[dev[who].members].made[under];
	deks[ndeks].epoch = number;
	deks[ndeks].head = dev[who].members;
	deks[ndeks].by = who;
	deks[ndeks].sig = true;
	deks[ndeks].items = holds;
	deks[ndeks].tombs = lacks;
	nowDeks = ndeks;
	printf("%d writes deks %d: kek %d epoch %d head %d items %d tombs %d\n", who, ndeks, under, number, deks[ndeks].head, deks[ndeks].items, deks[ndeks].tombs);
	ndeks++
}

/*
 * Every write may be the last thing that a process does: then the device knows
 * nothing of it, and looks before it writes again.
 */
#define NONE 255
inline keepMembers(who)
{
	if
	:: dev[who].members = nmembers - 1; dev[who].atMembers = nmembers - 1
	:: dev[who].atMembers = NONE; dev[who].atDeks = NONE; printf("%d crashes\n", who)
	fi
}
inline keepDeks(who, reports)
{
	if
	:: d_step {
		accept(who, dev[who].members, ndeks - 1);
		dev[who].atDeks = ndeks - 1;
		dev[who].saved = dev[who].saved | (reports);
		dev[who].shown = TAKEN
	   }
	:: dev[who].atMembers = NONE; dev[who].atDeks = NONE; printf("%d crashes\n", who)
	fi
}

#define MINE members[dev[who].members]
#define HAS deks[dev[who].deks]
#define MAY_MEMBERS (!over && dev[who].shown != STUCK && nmembers < MEMBERS - ROOM && OWNER(who) && SWAPS_MEMBERS(who))
#define MAY_DEKS (!over && dev[who].shown != STUCK && ndeks < DEKS - ROOM && SWAPS_DEKS(who) && !(who == M && MINE.gone))

/* "Writing deks: under the newest KEK": where it is under an older one, wrapping comes first. */
#ifdef OLDKEK
#define UNDER_NEWEST true
#else
#define UNDER_NEWEST (HAS.kek == MINE.kek)
#endif

/* settle has room of its own for what is left of a rotation. */
#ifdef FRIENDLY
#define ROOM 1
#else
#define ROOM 0
#endif

proctype device(byte who)
{
	byte m, d;
end:	do
	/* refresh */
#ifdef LIES
	:: atomic { !over ->
		m = 0; do :: m < nmembers - 1 -> m++ :: break od;
		d = 0; do :: d < ndeks - 1 -> d++ :: break od;
		skip;
		d_step { check(who, m, d); yes = (stage == OK) };
		if
		:: stage == OK && (m != dev[who].members || d != dev[who].deks) -> d_step { accept(who, m, d) }
		:: else /* refused and shown; it goes on with what it has */
		fi;
		m = 0; d = 0
	   }
#else
	:: d_step { !over && (dev[who].atMembers != nowMembers || dev[who].atDeks != nowDeks) -> look(who, nowMembers, nowDeks) }
#endif
	/* add an item */
	:: atomic { MAY_DEKS && dev[who].shown == TAKEN && UNDER_NEWEST && !(added & ADDS(who)) ->
		d_step {
			added = added | ADDS(who);
			crossed = crossed || who == M && members[nowMembers].gone;
			putDeks(who, HAS.kek, HAS.epoch + 1, HAS.items | ADDS(who), HAS.tombs);
			after = (MINE.gone -> after | ADDS(who) : after)
		};
		keepDeks(who, ADDS(who))
	   }
	/* remove an item */
	:: atomic { MAY_DEKS && dev[who].shown == TAKEN && UNDER_NEWEST && (HAS.items & OLD) && who != M ->
		d_step { putDeks(who, HAS.kek, HAS.epoch + 1, HAS.items & ~OLD, HAS.tombs | OLD) };
		keepDeks(who, 0)
	   }
	/* rotate, 1: kek-made */
	:: atomic { MAY_MEMBERS && dev[who].shown == TAKEN && MINE.kek < KEKS && HAS.kek == MINE.kek && MINE.retired == MINE.kek - 1 ->
		d_step { nextMembers(who, dev[who].members); makeKEK(); putMembers() };
		keepMembers(who)
	   }
	/* remove M, 1: identity-removed with the hash of the last good deks, and kek-made */
	:: atomic { MAY_MEMBERS && !MINE.gone && MINE.kek < KEKS ->
		d_step {
			nextMembers(who, dev[who].members);
			members[nmembers].gone = nmembers;
			members[nmembers].deks = dev[who].deks;
			crossed = (deks[nowDeks].by == M && nowDeks != dev[who].deks);
			makeKEK(); putMembers()
		};
		keepMembers(who)
	   }
	/* rotate or remove, 2: every DEK under the newest KEK. Where deks is refused, only in a removal. */
	:: atomic { MAY_DEKS && HAS.kek < MINE.kek && (dev[who].shown == TAKEN || MINE.gone) ->
		d_step {
			putDeks(who, MINE.kek, 1, HAS.items, HAS.tombs);
			crossed = crossed || who == M && members[nowMembers].gone
		};
		keepDeks(who, 0)
	   }
	/* 3: kek-retired */
	:: atomic { MAY_MEMBERS && dev[who].shown == TAKEN && HAS.kek == MINE.kek && MINE.retired < MINE.kek - 1 ->
		d_step { nextMembers(who, dev[who].members); members[nmembers].retired = MINE.kek - 1; putMembers() };
		keepMembers(who)
	   }
#ifdef NOTKEPT
	/* remove M, 1, naming a deks that the remover has checked and not kept */
	:: atomic { MAY_MEMBERS && !MINE.gone && MINE.kek < KEKS ->
		d_step {
			check(who, nowMembers, nowDeks);
			if
			:: stage == OK && nowMembers == dev[who].members ->
				nextMembers(who, nowMembers);
				members[nmembers].gone = nmembers;
				members[nmembers].deks = nowDeks;
				makeKEK(); putMembers()
			:: else
			fi
		}
	   }
#endif
	od
}

#ifndef FRIENDLY
/*
 * M has the KEKs that were sealed to it, every object there ever was, and its
 * own signature. It goes on from any deks, on any members whose newest KEK it
 * knows. On others what it makes fails by the MAC. It writes whatever it likes
 * to the store. What it can't open it can only replace by noise, which shows as
 * damaged: that isn't modelled.
 */
proctype malicious()
{
	byte m, d, what, by;
end:	do
	:: atomic { !over && forged < FORGED && ndeks < DEKS ->
		m = 0; do :: m < nmembers - 1 -> m++ :: break od;
		d = 0; do :: d < ndeks - 1 -> d++ :: break od;
		if :: what = 0 :: what = 1 :: what = 2 fi;
#ifdef LIES /* what it can't sign is left to HOSTILE */
		by = M;
#else
		if :: by = M :: by = O fi;
#endif
		if
		:: M_KNOWS(members[m].made[NEWEST(m)]) && (what != 2 || (deks[d].tombs & OLD)) && (what != 1 || (deks[d].items & ~after)) -> d_step {
			deks[ndeks].kek = NEWEST(m);
			deks[ndeks].key = members[m].made[NEWEST(m)];
			deks[ndeks].epoch = (deks[d].kek == NEWEST(m) -> deks[d].epoch + 1 : 1);
			deks[ndeks].head = m;
			deks[ndeks].by = by;
			deks[ndeks].sig = (by == M);
			deks[ndeks].items = deks[d].items & ~after;
			deks[ndeks].tombs = deks[d].tombs;
			if
			:: what == 0 /* as it is: an epoch used, a fork */
			:: what == 1 -> deks[ndeks].items = 0 /* what was there is gone, without a tombstone */
			:: what == 2 -> deks[ndeks].items = deks[ndeks].items | OLD; deks[ndeks].tombs = 0 /* what was removed is back */
			fi;
			printf("M forges deks %d as by %d: kek %d epoch %d head %d items %d tombs %d\n", ndeks, by, NEWEST(m), deks[ndeks].epoch, m, deks[ndeks].items, deks[ndeks].tombs);
			deks[ndeks].forged = nmembers;
			forged++;
			nowDeks = ndeks;
			ndeks++
		   }
		:: else
		fi;
		m = 0; d = 0; what = 0; by = 0
	   }
	/* a KEK that is noise to everybody else, and the others retired */
	:: d_step { !over && forged < FORGED && nmembers < MEMBERS && NEWEST(nowMembers) < KEKS && !members[nowMembers].gone ->
		nextMembers(M, nowMembers); makeKEK();
		members[nmembers].retired = NEWEST(nmembers) - 1;
		putMembers();
		forged++
	   }
	od
}

/*
 * 4: at any moment, with whatever is in the store, the owner removes M, and with
 * it whoever wrote the deks that it finds. It can if it gets hold of members and
 * deks that count: then kek-made, deks and kek-retired follow. Where the store
 * lied, it may find a fork, which it shows; then it can put back what it has kept
 * (`vigilctl keyring restore`), and that counts.
 */
proctype rescue()
{
	d_step { !over -> over = true;
		kept = dev[O].deks;
		printf("rescue: store has members %d deks %d\n", nowMembers, nowDeks);
		check(O, dev[O].members, kept);
		assert(stage == OK);
#ifndef LIES
		checkMembers(O, nowMembers);
		assert(stage != FORK);
		if
		:: stage == OK ->
			checkDeks(O, nowMembers, nowDeks);
			if
			:: stage == OK
			:: else ->
				assert(stage == REFUSED || deks[nowDeks].by != O);
				assert(GOES_ON(O, nowMembers, kept));
				checkDeks(O, nowMembers, kept);
				assert(stage == OK)
			fi
		:: else /* no chain: the one that the device has kept replaces it */
		fi
#endif
	}
}
#endif

#ifdef FRIENDLY
/* What is left of a rotation, and of a removal that another began. */
inline finish(who)
{
	look(who, nowMembers, nowDeks);
	if
	:: dev[who].shown != STUCK && HAS.kek < MINE.kek ->
		putDeks(who, MINE.kek, 1, HAS.items, HAS.tombs);
		look(who, nowMembers, nowDeks)
	:: else
	fi;
	if
	:: dev[who].shown == TAKEN && HAS.kek == MINE.kek && MINE.retired < MINE.kek - 1 ->
		nextMembers(who, nowMembers);
		members[nmembers].retired = MINE.kek - 1;
		putMembers();
		look(who, nowMembers, nowDeks)
	:: else
	fi
}

/*
 * 5: at any moment everybody stops adding and removing, the owners finish what
 * is left of a rotation, and all look. Then all have the same. But if M's last
 * write and its removal crossed, who has seen that write, or what is below it,
 * may refuse the next deks as a fork, and shows it.
 */
#ifdef NORACE
#define RACE(who) false
#else
#define RACE(who) (crossed && dev[who].shown == STUCK)
#endif
#define LATER(d, good) ((deks[good].items & ~(deks[d].items | deks[d].tombs)) == 0 && (deks[good].tombs & ~deks[d].tombs) == 0)
#define CONVERGED(who) (dev[who].shown == TAKEN && dev[who].members == nowMembers && dev[who].deks == nowDeks)

proctype settle()
{
	atomic { !over -> over = true;
		d_step {
			finish(O);
			finish(P);
			look(O, nowMembers, nowDeks);
			assert(CONVERGED(O) || CONVERGED(P));
			/* What the removal names as good is what everybody goes on from. */
			assert(!members[nowMembers].gone || LATER(nowDeks, members[nowMembers].deks));
			assert(CONVERGED(O) || RACE(O));
			assert(CONVERGED(P) || RACE(P))
		}
	}
}
#endif

init {
	d_step {
		members[0].kek = 1;
		deks[0].kek = 1; deks[0].epoch = 1; deks[0].sig = true; deks[0].items = OLD
	};
	atomic {
		run device(O);
		run device(P);
#ifdef FRIENDLY
		run device(M);
		run settle()
#else
		run malicious();
		run rescue()
#endif
	}
}
