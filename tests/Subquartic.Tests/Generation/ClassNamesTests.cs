using Subquartic.Generation;

namespace Subquartic.Tests.Generation;

public class ClassNamesTests
{
    [Fact]
    public void There_are_1000_classes_with_names()
    {
        Assert.All(Enumerable.Range(0, ClassNames.ImageNet.Count), i => Assert.All(ClassNames.ImageNet.Synonyms(i), name => Assert.Equal(name.Trim(), name)));
        Assert.All(Enumerable.Range(0, ClassNames.ImageNet.Count), i => Assert.NotEmpty(ClassNames.ImageNet.Name(i)));
        Assert.Throws<ArgumentOutOfRangeException>(() => ClassNames.ImageNet.Name(1000));
        Assert.Throws<ArgumentOutOfRangeException>(() => ClassNames.ImageNet.Name(-1));
    }

    [Theory]
    [InlineData(0, "tench")]
    [InlineData(1, "goldfish")]
    [InlineData(22, "bald eagle")]
    [InlineData(207, "golden retriever")]
    [InlineData(388, "giant panda")]
    [InlineData(417, "balloon")]
    [InlineData(437, "beacon")]
    [InlineData(980, "volcano")]
    [InlineData(999, "toilet tissue")]
    public void Numbers_are_those_of_the_released_models(int number, string name) => Assert.Equal(name, ClassNames.ImageNet.Name(number));

    [Theory]
    [InlineData("207", 207)]
    [InlineData("Golden Retriever", 207)]
    [InlineData("golden_retriever", 207)]
    [InlineData("tinca tinca", 0)]
    [InlineData("tiger", 292)] // a whole name, not the tiger cat or the tiger shark
    [InlineData("volcan", 980)]
    [InlineData("panda bear", 388)]
    [InlineData("eskimo dog", 248)]
    public void Finds_classes_by_number_name_synonym_and_beginning(string text, int number) => Assert.Equal(number, ClassNames.ImageNet.Find(text).Number);

    [Fact]
    public void Two_classes_of_one_name_are_both_offered()
    {
        ClassMatch crane = ClassNames.ImageNet.Find("crane"); // the bird and the machine
        Assert.Null(crane.Number);
        Assert.True(crane.IsAmbiguous);
        Assert.Equal([134, 517], crane.Candidates);
        Assert.Contains(281, ClassNames.ImageNet.Find("cat").Candidates); // tabby cat
    }

    [Theory]
    [InlineData("goldn retreiver", 207)]
    [InlineData("volcanoe", 980)]
    [InlineData("daizy", 985)]
    public void Offers_names_spelled_alike(string text, int number)
    {
        ClassMatch match = ClassNames.ImageNet.Find(text);
        Assert.Null(match.Number);
        Assert.False(match.IsAmbiguous);
        Assert.Equal(number, match.Candidates[0]);
    }

    [Fact]
    public void Own_names_are_found_like_those_of_ImageNet()
    {
        var names = new ClassNames([["sun"], ["moon"], ["sea star", "starfish"]]);
        Assert.Equal(1, names.Find("Moon").Number);
        Assert.Equal(2, names.Find("starfish").Number);
        Assert.Equal(2, names.Find("2").Number);
        Assert.Null(names.Find("3").Number);
        Assert.Equal([0], names.Find("sum").Candidates);
    }

    [Theory]
    [InlineData("")]
    [InlineData("1000")]
    [InlineData("-1")]
    [InlineData("quantum chromodynamics")]
    public void Offers_nothing_for_nonsense(string text)
    {
        ClassMatch match = ClassNames.ImageNet.Find(text);
        Assert.Null(match.Number);
        Assert.Empty(match.Candidates);
    }
}
