package auth

import (
	"math"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/waybill/waybill/internal/account"
	"github.com/waybill/waybill/internal/job"
)

// claims is the body of an access token (RFC 9068). Role is informative; the role in the user's row
// counts.
type claims struct {
	Issuer    string       `json:"iss"`
	Audience  string       `json:"aud"`
	Subject   job.ID       `json:"sub"`
	Role      account.Role `json:"role"`
	Family    job.ID       `json:"sid"`
	ID        job.ID       `json:"jti"`
	Expires   instant      `json:"exp"`
	NotBefore instant      `json:"nbf"`
	IssuedAt  instant      `json:"iat"`
}

// instant is a NumericDate (RFC 7519, section 2): seconds since 1970. Fractions are read, since
// earlier releases wrote them, and not written: many libraries take whole numbers only. 0 means
// that it is missing.
type instant float64

func instantOf(t time.Time) instant { return instant(t.Unix()) }

func (i instant) time() time.Time { return time.UnixMilli(int64(math.Round(float64(i) * 1000))).UTC() }

// date answers nil for what is missing or beyond any calendar, which jwt takes for missing too.
func (i instant) date() (*jwt.NumericDate, error) {
	if i <= 0 || i > 1e11 {
		return nil, nil
	}
	return &jwt.NumericDate{Time: i.time()}, nil
}

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.Expires.date() }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.NotBefore.date() }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt.date() }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject.String(), nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{c.Audience}, nil }
