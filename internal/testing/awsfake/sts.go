package awsfake

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// MFACode is the code that STS accepts.
const MFACode = "123456"

// STS emulates AssumeRole and GetCallerIdentity of the AWS Security Token Service.
type STS struct {
	service Service

	mu    sync.Mutex
	roles map[string]role
}

type role struct {
	mfa      string // serial number of the required device; empty: none
	valid    time.Duration
	policies []string
}

// NewSTS returns a service without roles.
func NewSTS(cloud *Cloud) *STS {
	s := &STS{roles: map[string]role{}}
	s.service = Service{
		Cloud: cloud, Name: "sts", DeniedCode: "AccessDenied", IDHeader: "X-Amzn-Requestid",
		Classify: classifySTS, Answer: s.answer, Refuse: refuseXML,
	}
	return s
}

// AddRole creates a role that any caller may assume, for sessions of the given
// length. If mfa names an MFA device, that needs its code.
func (s *STS) AddRole(name, mfa string, valid time.Duration, policies ...string) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[name] = role{mfa, valid, policies}
	return "arn:aws:iam::" + Account + ":role/" + name
}

// ServeHTTP answers one request.
func (s *STS) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.service.ServeHTTP(w, r) }

func classifySTS(_ *http.Request, body []byte) (Call, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Call{}, &Refusal{http.StatusBadRequest, "MalformedQueryString", err.Error()}
	}
	switch action := form.Get("Action"); action {
	case "AssumeRole", "GetCallerIdentity":
		return Call{Action: "sts:" + action, Resource: form.Get("RoleArn")}, nil
	default:
		return Call{}, &Refusal{http.StatusBadRequest, "InvalidAction", "Could not find operation " + action}
	}
}

func (s *STS) answer(w http.ResponseWriter, r *http.Request, call Call, caller *Caller, body []byte) {
	form, _ := url.ParseQuery(string(body)) // classifySTS has parsed it
	if call.Action == "sts:GetCallerIdentity" {
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>%s</Arn><UserId>%s</UserId><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`,
			caller.ARN, caller.AccessKeyID, Account)
		return
	}
	name := call.Resource[strings.LastIndexByte(call.Resource, '/')+1:]
	s.mu.Lock()
	role, ok := s.roles[name]
	s.mu.Unlock()
	if !ok || role.mfa != "" && form.Get("SerialNumber") != role.mfa {
		refuseXML(w, r, "", &Refusal{http.StatusForbidden, "AccessDenied", "User: " + caller.ARN +
			" is not authorized to perform: sts:AssumeRole on resource: " + call.Resource})
		return
	}
	if role.mfa != "" && form.Get("TokenCode") != MFACode {
		refuseXML(w, r, "", &Refusal{
			http.StatusForbidden, "AccessDenied",
			"MultiFactorAuthentication failed with invalid MFA one time pass code. ",
		})
		return
	}
	session := s.service.Cloud.AddSession(name, form.Get("RoleSessionName"), role.valid, role.policies...)
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>`+
		`<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>`+
		`<AssumedRoleUser><Arn>%s</Arn><AssumedRoleId>%s:x</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`,
		session.AccessKeyID, session.SecretAccessKey, session.SessionToken, session.Expires.UTC().Format(time.RFC3339),
		session.ARN, session.AccessKeyID)
}

func refuseXML(w http.ResponseWriter, _ *http.Request, requestID string, refusal *Refusal) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(refusal.Status)
	fmt.Fprint(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>`+refusal.Code+`</Code><Message>`)
	_ = xml.EscapeText(w, []byte(refusal.Message))
	fmt.Fprint(w, `</Message></Error><RequestId>`+requestID+`</RequestId></ErrorResponse>`)
}
