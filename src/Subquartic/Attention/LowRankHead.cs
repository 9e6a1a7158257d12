using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Low-rank attention of one head: the map from tokens to coordinates, and the moments of the keys it has met. Asked again with more keys,
/// it adds the new ones to its moments and leaves the others alone.</summary>
/// <remarks>
/// <para>Exact steps first (all leave the softmax unchanged): keys move by one vector c (adds a constant to each row of scores), scaled queries by
/// a vector m (becomes a factor w_j = exp(m.(k_j - c) - max) per key), coordinates may be turned and are scaled by powers of two so that max_j |k_jl|
/// lies in [1/2, 1) (queries inversely), values move by v0 and are scaled by a power of two (undone at the end, since weights sum to 1).
/// Terms of outlier keys are added in double precision.</para>
/// <para>Notation of the bound: u = 2^-24, gamma_n = n u/(1 - n u); q, k the coordinates as stored in float32; box_i = sum_l |q_il| max_j |k_jl| over the
/// keys in the moments, Box_i over all keys; rho_i >= max_j |q_i.k_j| over the keys in the moments; range = max over columns of max_j v - min_j v,
/// reach = max_j |v_j - v0|; res_i = |q_i - Pq_i| max_j |k_j - Pk_j| where directions are used, P their projector.</para>
/// <para><b>Statement.</b> Let P be the polynomial a row uses, |P(s) exp(-s) - 1| &lt;= eps on [-rho_i, rho_i], and max(1, |q_il|)^g &lt;= 2^60. Then
/// |o_i - o*_i| &lt;= range tanh(Delta_i/2 + atanh(eps)/2) + 2 reach eta_i/(1 - eta_i) + 3u (|v0| + 2 reach) + 2^-149 with
/// Delta_i = res_i + 2u Box_i (1 + 10^-3) + 6u + 2^-147 sum_l max_j |k_jl| (not scaled), and
/// eta_i = gamma_n P_abs(box_i) exp(rho_i) / (1 - eps), P_abs(t) = sum |c_k| t^k, n = 3g + T/16 + r + 40, T tokens in a float32 sum of 16 lanes.</para>
/// <para><b>Proof.</b> (1) Storing q and k rounds each coordinate once (<see cref="TokenMap"/>), which moves a score by at most 2u Box_i (1 + u); a query that
/// underflows before it is scaled is wrong by 2^-150. The projection leaves out res_i at most (Cauchy-Schwarz), and rounding of directions is
/// part of the measured lengths. w_j is computed in double and rounded once. (2) With weights w_j P(q_i.k_j), exp for outliers, in exact arithmetic
/// the ratio to the true weights stays within exp(+-Delta_i)(1 +- eps), so the distance of the two distributions is at most
/// tanh(Delta_i/2 + atanh(eps)/2) and an average of values changes by at most range times that. (3) Every term of
/// sum_m c_m m! sum_(|alpha| = m) q^alpha (sum_j k_j^alpha w_j v_j)/alpha! passes through fewer than n - 8 float32 roundings (powers 2g, product with w and v, a sum over
/// T/16 tokens and 16 lanes, casts of moments and coefficients, a sum over the r monomials and g degrees), so numerator and denominator are wrong by at most
/// gamma_n times the sum of the absolute values of the terms, which is at most P_abs(box_i) sum_j w_j reach; the denominator is at least
/// (1 - eps) exp(-rho_i) sum_j w_j, and terms of outliers only add to it. The quotient, at most reach, moves by at most 2 eta/(1 - eta) reach.
/// (4) The division, the return of v0 and the rounding of v - v0 cost the last terms.</para>
/// <para><b>Translation.</b> When centres move, moments follow in double (<see cref="MonomialBasis.Translate"/>). Roundings that are there already are relative
/// to |k^alpha| about the old centre, which is below (|k_l| + |h_l|)^alpha about the new one: box and Box are taken with the maxima so enlarged.</para>
/// <para><b>No overflow, harmless underflow.</b> |k_l| &lt;= 4 and the condition on q keep all monomials below 2^100. A product that underflows
/// is wrong by at most 2^-150; what follows multiplies it by at most 2^60 times r coefficients, while sum_j w_j &gt;= 1: all of it together stays far
/// below the u exp(rho_i) of one of the spare roundings in n. Weights below exp(-60) are refused.</para>
/// </remarks>
internal sealed partial class LowRankHead(KernelSet kernels, LowRankOptions options, LowRankScratch scratch)
{
    /// <summary>Tokens that are summed in float32 (in 16 lanes); sums beyond are in double.</summary>
    public const int SumTokens = 2048;

    /// <summary>Directions at most, unless there are so few coordinates that all are turned.</summary>
    public const int MaxDirections = 8;

    private const int Block = MonomialKernels.Tokens;
    private const int MaxTasks = 32;
    private const double UnitRoundoff = 1.0 / (1 << 24);

    private readonly TokenMap _map = new();
    private readonly List<int> _outliers = [];
    private readonly List<(int Start, int Count, int Degree)> _blocks = [];

    private double[] _moments = [];
    private double[] _low = [];
    private double[] _high = [];
    private double[] _keyLow = [];
    private double[] _keyHigh = [];
    private double[] _coordinateLow = [];
    private double[] _coordinateHigh = [];
    private double[] _maxima = [];
    private double[] _allMaxima = [];
    private double[] _valueLow = [];
    private double[] _valueHigh = [];
    private float[] _valueCentre = [];
    private readonly float[] _valueFactors = new float[4];
    private double[] _outlierExponents = [];
    private double[] _translated = [];
    private double _keyRadius;
    private double _residual;
    private double _least;
    private double _largest;
    private double _maxExponent;

    private Matrix _queries;
    private Matrix _keys;
    private Matrix _values;
    private Matrix _output;
    private float _scale;
    private int _first;
    private int _taskTokens;

    /// <summary>The monomials of the moments; null when there are none.</summary>
    public MonomialBasis? Basis { get; private set; }

    /// <summary>Keys in the moments, outliers included.</summary>
    public int Absorbed { get; private set; }

    /// <summary>Keys whose features were computed so far, those computed anew counted again.</summary>
    public long Featurized { get; private set; }

    /// <summary>Times the moments were carried to another centre.</summary>
    public int Translations { get; private set; }

    /// <summary>Largest bound over the rows that are not exact, in units of V.</summary>
    public double ErrorBound { get; private set; }

    /// <summary>What was found out about the head last.</summary>
    public LowRankDiagnosis Diagnosis { get; private set; }

    /// <summary>Bytes of the moments.</summary>
    public long MomentBytes => Absorbed == 0 ? 0 : (long)Basis!.Count * ColumnCount * sizeof(double);

    /// <summary>Columns of V, the column of weights, and zeros up to whole tiles.</summary>
    private int ColumnCount => MonomialKernels.WholeTiles(_values.Columns + 1);

    private int KeyTasks => (_keys.Rows - _first + _taskTokens - 1) / _taskTokens;

    private int QueryTasks => (_queries.Rows + SumTokens - 1) / SumTokens;

    /// <summary>Forgets the keys.</summary>
    public void Clear() => Absorbed = 0;

    /// <summary>Why no head of this size can be computed faster than exactly, or null: one feature besides the constant is the least there is.</summary>
    public static string? TooFew(int queries, int keys, int absorbed, int width, int valueWidth, LowRankOptions options) =>
        options.OnlyWhenFaster && AttentionCost.ExactTime(queries, keys, width, valueWidth)
            <= AttentionCost.TokenTime(queries, keys - absorbed, width, valueWidth) + AttentionCost.FeatureTime(queries + keys - absorbed, 2, valueWidth)
            ? $"{queries} queries and {keys} keys are too few to repay features"
            : null;

    /// <summary>Computes the rows that polynomials serve and lists the others in <see cref="LowRankScratch.ExactRows"/>.</summary>
    /// <param name="queries">(L, d).</param>
    /// <param name="keys">(S, d); the first <see cref="Absorbed"/> are those of the last call.</param>
    /// <param name="values">(S, c_v).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="output">(L, c_v).</param>
    /// <returns>Null, or why nothing was computed.</returns>
    public string? Attend(Matrix queries, Matrix keys, Matrix values, float scale, Matrix output)
    {
        (_queries, _keys, _values, _output, _scale) = (queries, keys, values, output, scale);
        double exact = AttentionCost.ExactTime(queries.Rows, keys.Rows, keys.Columns, values.Columns);
        Diagnosis = new LowRankDiagnosis(double.NaN, 0, 0, 0, 0, queries.Rows, 1);
        if (keys.Rows == 0 || queries.Rows == 0)
        {
            return "there are no tokens";
        }

        if (TooFew(queries.Rows, keys.Rows, Math.Min(Absorbed, keys.Rows), keys.Columns, values.Columns, options) is { } few)
        {
            return few;
        }

        if (!Extend())
        {
            Clear();
            string? refusal = Build();
            if (refusal is not null)
            {
                return refusal;
            }
        }

        AddMoments();
        Answer();
        double cost = scratch.Plan.Cost / exact;
        Diagnosis = new LowRankDiagnosis(_largest, _map.Width, scratch.Plan.Degree, Basis!.Count, _outliers.Count, scratch.ExactRows.Count, cost);
        ErrorBound = (scratch.Plan.ErrorBound * ValueRange()) + (3 * UnitRoundoff * (LargestShift() + (2 * ValueReach()))) + float.Epsilon;
        return null;
    }

    /// <summary>Adds the features of the keys from <see cref="Absorbed"/> on to the moments.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddMoments()
    {
        int degree = scratch.Plan.Degree;
        if (Basis is null || Absorbed == 0 || Basis.Degree != degree)
        {
            Basis = Basis is not null && Basis.Width == _map.Width && Basis.Degree == degree ? Basis : new MonomialBasis(_map.Width, degree);
            LowRankScratch.Resize(ref _moments, Basis.Count * ColumnCount);
            Array.Clear(_moments);
        }

        int length = Basis.Count * ColumnCount;
        Span<double> moments = _moments.AsSpan(0, length);
        if (_first < _keys.Rows)
        {
            LowRankScratch.Resize(ref scratch.Sums, KeyTasks * length);
            Run(Pass.SumKeys, KeyTasks);
            for (int task = 0; task < KeyTasks; task++)
            {
                TensorPrimitives.Add(moments, scratch.Sums.AsSpan(task * length, length), moments);
            }
        }

        Featurized += _keys.Rows - _first;
        Absorbed = _keys.Rows;
        LowRankScratch.Resize(ref scratch.Moments, length);
        double factorial = 1;
        for (int m = 0; m <= Basis.Degree; m++)
        {
            factorial *= Math.Max(1, m);
            for (int alpha = Basis.Start(m); alpha < Basis.Start(m + 1); alpha++)
            {
                double factor = Basis.Multiplicities[alpha] / factorial;
                for (int n = alpha * ColumnCount; n < (alpha + 1) * ColumnCount; n++)
                {
                    scratch.Moments[n] = (float)(factor * _moments[n]);
                }
            }
        }
    }

    /// <summary>Sorts the queries by degree and answers them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Answer()
    {
        LowRankScratch.Resize(ref scratch.Order, _queries.Rows);
        scratch.ExactRows.Clear();
        _blocks.Clear();
        Span<int> places = stackalloc int[ExpPolynomial.MaxDegree + 2];
        places.Clear();
        for (int c = 0; c < LowRankPlan.ClassCount; c++)
        {
            places[scratch.Plan.DegreeOf(c) + 1] += scratch.Plan.Rows(c);
        }

        for (int degree = 0; degree < places.Length - 1; degree++)
        {
            int count = places[degree + 1];
            places[degree + 1] += places[degree];
            for (int done = 0; degree > 0 && done < count; done += Block)
            {
                _blocks.Add((places[degree] + done, Math.Min(Block, count - done), degree));
            }
        }

        for (int i = 0; i < _queries.Rows; i++)
        {
            int degree = scratch.Plan.DegreeOf(scratch.Classes[i]);
            scratch.Order[places[degree]++] = i;
            if (degree == 0)
            {
                scratch.ExactRows.Add(i);
            }
        }

        Run(Pass.Answer, _blocks.Count);
    }

    private double ValueRange()
    {
        double range = 0;
        for (int c = 0; c < _values.Columns; c++)
        {
            range = Math.Max(range, _valueHigh[c] - _valueLow[c]);
        }

        return range;
    }

    private double ValueReach()
    {
        double reach = 0;
        for (int c = 0; c < _values.Columns; c++)
        {
            reach = Math.Max(reach, Math.Max(Math.Abs(_valueHigh[c] - _valueCentre[c]), Math.Abs(_valueLow[c] - _valueCentre[c])));
        }

        return reach;
    }

    private double LargestShift()
    {
        double shift = 0;
        for (int c = 0; c < _values.Columns; c++)
        {
            shift = Math.Max(shift, Math.Abs(_valueCentre[c]));
        }

        return shift;
    }
}
