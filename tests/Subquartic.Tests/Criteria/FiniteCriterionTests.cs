using Subquartic.Criteria;

namespace Subquartic.Tests.Criteria;

public class FiniteCriterionTests
{
    [Theory]
    [InlineData(0.5, 8, 1e-3, 3, 165)]
    [InlineData(2, 8, 1e-3, 6, 3003)]
    [InlineData(2, 4, 1e-2, 4, 70)]
    public void Least_degree_and_its_features(double halfRange, int width, double tolerance, int degree, double features)
    {
        FiniteCriterion criterion = FiniteCriterion.For(halfRange, width, width, tolerance);
        Assert.Equal((degree, features), (criterion.Degree, criterion.Features));
        Assert.InRange(criterion.OutputError!.Value, 0, tolerance);

        // One degree less would not do.
        Assert.True(Math.Tanh(Math.Atanh(ExpPolynomial.Fit(halfRange, degree - 1).Error) / 2) > tolerance);
    }

    [Fact]
    public void No_polynomial_is_dearer_than_anything()
    {
        FiniteCriterion criterion = FiniteCriterion.For(ExpPolynomial.MaxHalfRange * 2, 8, 8, 1e-3);
        Assert.Equal((null, null, null, null), (criterion.Degree, criterion.Features, criterion.OutputError, criterion.BreakEvenSide(2)));
        Assert.False(criterion.IsCheaper(1e9, 1e9));
    }

    [Theory]
    [InlineData(1, 8, 1.5)]
    [InlineData(0.5, 16, 2.656)]
    public void Break_even_is_where_the_costs_meet(double halfRange, int width, double ratio)
    {
        FiniteCriterion criterion = FiniteCriterion.For(halfRange, width, width, 1e-3);
        double side = criterion.BreakEvenSide(ratio)!.Value;
        Assert.True(criterion.IsCheaper(1.01 * side * side, 1.01 * ratio * side * side));
        Assert.False(criterion.IsCheaper(0.99 * side * side, 0.99 * ratio * side * side));
    }

    [Fact]
    public void Rounding_up_is_never_down_and_little()
    {
        var random = new Random(1);
        for (int i = 0; i < 1000; i++)
        {
            double value = Math.Pow(2, (random.NextDouble() * 20) - 10);
            double rounded = FiniteCriterion.RoundUp(value);
            Assert.InRange(rounded / value, 1, 1.125);
            Assert.Equal(rounded, FiniteCriterion.RoundUp(rounded));
        }

        Assert.Equal((0, double.PositiveInfinity), (FiniteCriterion.RoundUp(0), FiniteCriterion.RoundUp(double.PositiveInfinity)));
    }
}
