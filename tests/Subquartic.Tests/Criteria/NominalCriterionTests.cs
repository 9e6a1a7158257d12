using Subquartic.Criteria;

namespace Subquartic.Tests.Criteria;

public class NominalCriterionTests
{
    [Theory]
    [InlineData(2.0, 1.0, 3.0, Verdict.Holds)]
    [InlineData(4.0, 1.0, 3.0, Verdict.Unknown)]
    [InlineData(null, 1.0, 3.0, Verdict.Unknown)]
    [InlineData(4.0, 3.0, 3.0, Verdict.Fails)]
    [InlineData(null, double.NaN, 3.0, Verdict.Fails)]
    [InlineData(double.NaN, 1.0, 3.0, Verdict.Unknown)]
    [InlineData(2.0, 3.5, 3.0, Verdict.Fails)] // what was seen outweighs a bound that it breaks
    public void Three_states(double? bound, double measured, double limit, Verdict expected) =>
        Assert.Equal(expected, NominalCriterion.Decide(bound, measured, limit));

    [Fact]
    public void Balanced_entries_square_to_a_bound_of_the_score()
    {
        // d = 2, q = (3, 3), k = (1/2, 1/2), scale 1/4: the score reaches d scale max|q| max|k|.
        double entry = NominalCriterion.BalancedEntry(2, 0.25, 3, 0.5);
        Assert.Equal(0.25 * ((3 * 0.5) + (3 * 0.5)), entry * entry, 12);
        Assert.Equal(NominalCriterion.ScoreLimit(16), NominalCriterion.EntryLimit(16) * NominalCriterion.EntryLimit(16), 12);
        Assert.Equal(2.7726, NominalCriterion.ScoreLimit(16), 4);
    }
}
