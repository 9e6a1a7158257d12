using System.Numerics.Tensors;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Attention;

/// <summary>Which rows of a head polynomials serve, of which degree, and how well: the cost model and the bound of
/// <see cref="LowRankHead"/>.</summary>
/// <remarks>Rows are sorted into classes by rho, the half-range of their scores, eight equal steps an octave; a row has the polynomial of its class.</remarks>
internal sealed class LowRankPlan
{
    /// <summary>Number of classes.</summary>
    public const int ClassCount = ((4 - LowestExponent) * 8) + 2;

    private const int LowestExponent = -6;

    // A double without its last 49 bits counts the steps: exponent and three bits of the fraction.
    private const int StepShift = 49;
    private const long LowestStep = (1023L + LowestExponent) << 3;
    // Where speed does not count, a row is left to exact attention only when no polynomial serves it.
    private const double Reluctance = 1e9;
    private const double UnitRoundoff = 1.0 / (1 << 24);

    private readonly ClassTally[] _classes = new ClassTally[ClassCount];
    private readonly Serving[] _serving = new Serving[ClassCount];
    private readonly Serving[] _best = new Serving[ClassCount];

    /// <summary>What a head is like.</summary>
    /// <param name="Queries">L.</param>
    /// <param name="Keys">S.</param>
    /// <param name="NewKeys">Those whose features are not in the moments yet.</param>
    /// <param name="InputWidth">d, of rows of Q and K.</param>
    /// <param name="Width">p, of coordinates.</param>
    /// <param name="ValueWidth">c_v.</param>
    /// <param name="OutlierKeys">Keys whose terms are added exactly.</param>
    /// <param name="Reach">2 max|v - v0| over the range of V; about 1.</param>
    /// <param name="Degree">The only degree possible, or 0 when it is free.</param>
    public readonly record struct Shape(
        int Queries, int Keys, int NewKeys, int InputWidth, int Width, int ValueWidth, int OutlierKeys, double Reach, int Degree);

    /// <summary>The rows of a class.</summary>
    public struct ClassTally
    {
        /// <summary>Their number.</summary>
        public int Rows;

        /// <summary>Largest sum_l |q_l| max_j |k_jl|, over the keys in the moments.</summary>
        public double Box;

        /// <summary>Largest perturbation of a score by rounding of coordinates and by projection.</summary>
        public double Delta;

        /// <summary>Largest |q_l|.</summary>
        public double Reach;

        /// <summary>Adds rows.</summary>
        public void Merge(in ClassTally other)
        {
            Rows += other.Rows;
            Box = Math.Max(Box, other.Box);
            Delta = Math.Max(Delta, other.Delta);
            Reach = Math.Max(Reach, other.Reach);
        }
    }

    /// <summary>Largest degree in use.</summary>
    public int Degree { get; private set; }

    /// <summary>Predicted cost, in multiply-adds of exact attention.</summary>
    public double Cost { get; private set; }

    /// <summary>Bound of the rows that polynomials serve, as a fraction of the range of V.</summary>
    public double ErrorBound { get; private set; }

    /// <summary>The class of a row.</summary>
    /// <param name="rho">Bound on the absolute value of its scores.</param>
    /// <returns>The class; the last one has no polynomial.</returns>
    public static byte ClassOf(double rho)
    {
        long index = (BitConverter.DoubleToInt64Bits(rho) >>> StepShift) + 1 - LowestStep; // the next step is above rho; a NaN is above all
        return (byte)Math.Clamp(index, 0, ClassCount - 1);
    }

    /// <summary>Forgets the rows.</summary>
    public void Clear() => Array.Clear(_classes);

    /// <summary>Adds rows.</summary>
    /// <param name="tallies">One for each class.</param>
    public void Add(ReadOnlySpan<ClassTally> tallies)
    {
        for (int c = 0; c < ClassCount; c++)
        {
            _classes[c].Merge(tallies[c]);
        }
    }

    /// <summary>Chooses the degrees that are cheapest, counting the rows that would stay exact.</summary>
    /// <param name="shape">The head.</param>
    /// <param name="options">Tolerance and reductions.</param>
    /// <returns>Whether polynomials serve any row, and more cheaply than computing everything exactly when that is asked for.</returns>
    public bool Choose(in Shape shape, LowRankOptions options)
    {
        double exact = AttentionCost.ExactTime(shape.Queries, shape.Keys, shape.InputWidth, shape.ValueWidth);
        double least = options.OnlyWhenFaster ? exact : double.PositiveInfinity;
        Degree = 0;
        int columns = shape.ValueWidth + 2;
        (int first, int last) = shape.Degree == 0 ? (1, ExpPolynomial.MaxDegree) : (shape.Degree, shape.Degree);
        for (int degree = first; degree <= last; degree++)
        {
            double features = MonomialBasis.CountOf(shape.Width, degree);
            double sums = AttentionCost.FeatureTime(shape.NewKeys, features, shape.ValueWidth);
            if (features * columns > 1 << 24 || sums >= least)
            {
                break;
            }

            double cost = sums + Serve(shape, options, degree, certify: false);
            if (cost < least)
            {
                (least, Degree) = (cost, degree);
            }
        }

        if (Degree == 0)
        {
            return false;
        }

        double newFeatures = AttentionCost.FeatureTime(shape.NewKeys, MonomialBasis.CountOf(shape.Width, Degree), shape.ValueWidth);
        Cost = newFeatures + Serve(shape, options, Degree, certify: true);
        Array.Copy(_serving, _best, ClassCount);
        ErrorBound = 0;
        bool any = false;
        for (int c = 0; c < ClassCount; c++)
        {
            if (_classes[c].Rows > 0 && _best[c].Degree > 0)
            {
                any = true;
                ErrorBound = Math.Max(ErrorBound, _best[c].Bound);
            }
        }

        return any && (!options.OnlyWhenFaster || Cost < exact);
    }

    /// <summary>Degree of the polynomial of a class with rows; 0 when they stay exact.</summary>
    public int DegreeOf(int rowClass) => _best[rowClass].Degree;

    /// <summary>Coefficients c_m m! of the polynomial of a class, in float32.</summary>
    public ReadOnlySpan<float> Coefficients(int rowClass) => _best[rowClass].Coefficients;

    /// <summary>Number of rows in a class.</summary>
    public int Rows(int rowClass) => _classes[rowClass].Rows;

    private static double HalfRange(int rowClass) => BitConverter.Int64BitsToDouble((rowClass + LowestStep) << StepShift);

    /// <summary>Finds the polynomial of each class and returns the cost of the queries, without that of the sums over keys.</summary>
    private double Serve(in Shape shape, LowRankOptions options, int largest, bool certify)
    {
        double cost = AttentionCost.TokenTime(shape.Queries, shape.NewKeys, shape.InputWidth, shape.ValueWidth)
            + AttentionCost.ExactTime(shape.Queries, shape.OutlierKeys, shape.Width, shape.ValueWidth);
        long failing = 0;
        var all = default(ClassTally);
        bool refused = false;
        for (int c = 0; c < ClassCount; c++)
        {
            _serving[c] = default;
            if (_classes[c].Rows == 0)
            {
                continue;
            }

            if (options.Reductions.RowPolynomials)
            {
                for (int degree = 1; degree <= largest && _serving[c].Degree == 0; degree++)
                {
                    _serving[c] = Try(c, _classes[c], degree, shape, options.Tolerance, certify);
                }
            }
            else if (!refused)
            {
                // One polynomial for all rows: that of the highest class that it serves with all below.
                all.Merge(_classes[c]);
                Serving serving = Try(c, all, largest, shape, options.Tolerance, certify);
                refused = serving.Degree == 0;
                if (!refused)
                {
                    Array.Fill(_serving, serving, 0, c + 1);
                }
            }

            if (_serving[c].Degree > 0)
            {
                cost += AttentionCost.FeatureTime(_classes[c].Rows, MonomialBasis.CountOf(shape.Width, _serving[c].Degree), shape.ValueWidth);
            }
            else
            {
                failing += _classes[c].Rows;
            }
        }

        return failing == 0 ? cost
            : !options.Reductions.RowFallback ? double.PositiveInfinity
            : cost + (AttentionCost.ExactTime(failing, shape.Keys, shape.InputWidth, shape.ValueWidth) * (options.OnlyWhenFaster ? 1 : Reluctance));
    }

    /// <summary>The polynomial of one degree for rows of a class; degree 0 when its bound is above the tolerance.</summary>
    private static Serving Try(int rowClass, in ClassTally rows, int degree, in Shape shape, double tolerance, bool certify)
    {
        if (rowClass == ClassCount - 1 || degree * Math.Log2(Math.Max(1, rows.Reach)) > 60)
        {
            return default;
        }

        double features = MonomialBasis.CountOf(shape.Width, degree);
        double estimate = Bound(rowClass, rows, 1.1 * ExpPolynomial.EstimateError(HalfRange(rowClass), degree), Math.Exp(rows.Box), degree, features, shape);
        if (!certify)
        {
            return estimate <= tolerance ? new Serving(degree, estimate, []) : default;
        }

        if (!(estimate <= 1.3 * tolerance))
        {
            return default; // the estimate is never so wrong
        }

        ExpPolynomial polynomial = ExpPolynomial.Fit(HalfRange(rowClass), degree);
        double bound = Bound(rowClass, rows, polynomial.Error, polynomial.EvaluateAbsolute(rows.Box), degree, features, shape);
        if (!(bound <= tolerance))
        {
            return default;
        }

        var coefficients = new float[degree + 1];
        double factorial = 1;
        for (int m = 0; m <= degree; m++)
        {
            factorial *= Math.Max(1, m);
            coefficients[m] = (float)(polynomial.Coefficients[m] * factorial);
        }

        return new Serving(degree, bound, coefficients);
    }

    /// <summary>The bound of the remarks of <see cref="LowRankHead"/>, as a fraction of the range of V, without its last terms.</summary>
    private static double Bound(int rowClass, in ClassTally rows, double epsilon, double absolute, int degree, double features, in Shape shape)
    {
        if (!(epsilon < 1))
        {
            return double.PositiveInfinity;
        }

        double roundings = (3 * degree) + Math.Min(LowRankHead.SumTokens / 16, (shape.Keys + 15) / 16) + features + 40;
        double gamma = roundings * UnitRoundoff / (1 - (roundings * UnitRoundoff));
        double eta = gamma * absolute * Math.Exp(HalfRange(rowClass)) / (1 - epsilon);
        return eta < 1 ? Math.Tanh((rows.Delta / 2) + (Math.Atanh(epsilon) / 2)) + (shape.Reach * eta / (1 - eta)) : double.PositiveInfinity;
    }

    /// <summary>What serves a class: a polynomial, or nothing when the degree is 0.</summary>
    private readonly record struct Serving(int Degree, double Bound, float[] Coefficients);
}
