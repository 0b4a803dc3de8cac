package rehearsal

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"tandem/internal/tandem"
)

// Telco is the objects that matter for balancing. They are not changed.
type Telco struct {
	Clusters []*tandem.Cluster
	Nodes    []*tandem.Node
	Groups   []*tandem.Group
	Accounts []*tandem.Account // only for recorded calls that do not say their groups
}

// Add takes an object in, if it is of a kind that matters.
func (t *Telco) Add(o tandem.Object) {
	switch o := o.(type) {
	case *tandem.Cluster:
		t.Clusters = append(t.Clusters, o)
	case *tandem.Node:
		t.Nodes = append(t.Nodes, o)
	case *tandem.Group:
		t.Groups = append(t.Groups, o)
	case *tandem.Account:
		t.Accounts = append(t.Accounts, o)
	}
}

// Validate reports what is missing, and references that lead nowhere.
func (t *Telco) Validate() error {
	clusters := make(map[string]bool, len(t.Clusters))
	for _, c := range t.Clusters {
		clusters[c.ID] = true
	}
	for _, n := range t.Nodes {
		if !clusters[n.Cluster] {
			return fmt.Errorf("node %s: there is no cluster %q", n.ID, n.Cluster)
		}
	}
	for _, g := range t.Groups {
		if g.Cluster != "" && !clusters[g.Cluster] {
			return fmt.Errorf("group %s: there is no cluster %q", g.ID, g.Cluster)
		}
	}
	for _, x := range []struct {
		what string
		n    int
	}{{"cluster", len(t.Clusters)}, {"node", len(t.Nodes)}, {"group", len(t.Groups)}} {
		if x.n == 0 {
			return fmt.Errorf("there is no %s among the objects: a rehearsal needs clusters, nodes and groups", x.what)
		}
	}
	return nil
}

// Shape is a telco to be made up. Group sizes follow Zipf's law.
type Shape struct {
	Groups, Clusters int
	Nodes            int     // a cluster
	Zipf             float64 // exponent: 0 makes groups equal, 1 the second half as large as the first
	Fill             float64 // share of all capacity that is expected to be used
	Seed             uint64
}

// Bounds of a telco that is made up.
const (
	mostGroups   = 200_000
	mostClusters = 1000
	mostNodes    = 1000
)

// Validate reports a shape that no telco can have.
func (s Shape) Validate() error {
	switch {
	case s.Groups < 1 || s.Groups > mostGroups:
		return fmt.Errorf("%d groups: 1 to %d can be made up", s.Groups, mostGroups)
	case s.Clusters < 1 || s.Clusters > mostClusters:
		return fmt.Errorf("%d clusters: 1 to %d can be made up", s.Clusters, mostClusters)
	case s.Nodes < 1 || s.Nodes > mostNodes:
		return fmt.Errorf("%d nodes a cluster: 1 to %d can be made up", s.Nodes, mostNodes)
	case !(s.Zipf >= 0 && s.Zipf <= 3):
		return fmt.Errorf("exponent %v of Zipf's law: it is 0 to 3", s.Zipf)
	case !(s.Fill > 0 && s.Fill <= 2):
		return fmt.Errorf("fill of %.0f %%: it is 1 to 200 %%", s.Fill*100)
	}
	return nil
}

// Telco makes a telco up for so many communications at once at the busiest time. Each group expects
// its mean and twice the standard deviation, is permitted twice that and two, and some want good quality.
func (s Shape) Telco(busiest float64) *Telco {
	t := new(Telco)
	r := rand.New(rand.NewPCG(s.Seed, 1))
	sizes, sum := make([]float64, s.Groups), 0.0
	for i := range sizes {
		sizes[i] = math.Pow(float64(i+1), -s.Zipf)
		sum += sizes[i]
	}
	total, largest := 0, 0
	for i, size := range sizes {
		mean := busiest * size / sum
		expected := int(math.Ceil(mean + 2*math.Sqrt(mean)))
		permitted := 2*expected + 2
		g := &tandem.Group{Head: tandem.Head{ID: numbered("group", i)}, Expected: &expected, Permitted: &permitted}
		switch dice := r.Float64(); {
		case dice < 0.15:
			g.MinQuality = 80
		case dice < 0.4:
			g.MinQuality = 70
		}
		t.Groups = append(t.Groups, g)
		total, largest = total+expected, max(largest, expected)
	}
	capacity := int(math.Ceil(max(float64(total)/s.Fill/float64(s.Clusters), float64(largest))))
	for i := range s.Clusters {
		c := &tandem.Cluster{Head: tandem.Head{ID: numbered("cluster", i)}, Capacity: &capacity}
		t.Clusters = append(t.Clusters, c)
		for n := range s.Nodes {
			id := numbered("node", i*s.Nodes+n)
			t.Nodes = append(t.Nodes, &tandem.Node{Head: tandem.Head{ID: id}, Cluster: c.ID})
		}
	}
	return t
}

// numbered makes an id such as cluster3.
func numbered(what string, i int) string { return fmt.Sprintf("%s%d", what, i+1) }

// naturally orders ids so that cluster10 comes after cluster9.
func naturally(x, y string) int {
	a, b := strings.TrimRight(x, "0123456789"), strings.TrimRight(y, "0123456789")
	if a != b {
		return strings.Compare(x, y)
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
}

// sorted returns objects in the order in which they are shown.
func sorted[T tandem.Object](objects []T) []T {
	out := slices.Clone(objects)
	slices.SortFunc(out, func(x, y T) int { return naturally(x.Header().ID, y.Header().ID) })
	return out
}
